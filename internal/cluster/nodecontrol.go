package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// maxNodeRequest bounds a request about nodes, in bytes.
const maxNodeRequest = 1 << 20

// nodeRequest is what is asked of the server about one node.
type nodeRequest struct {
	Node  NodeSpec      `json:"node"`
	Grace time.Duration `json:"grace,omitempty"`
	Force bool          `json:"force,omitempty"`
}

// AddNode adds a node to a cluster that is up.
func AddNode(ctx context.Context, cluster string, n NodeSpec) (NodeStatus, error) {
	return changeNode(ctx, cluster, "add", nodeRequest{Node: n})
}

// RemoveNode ends a node, each of its Pods with its own grace period but grace at
// most, and removes everything of it. One that holds data of claims is only
// removed with force.
func RemoveNode(ctx context.Context, cluster, name string, grace time.Duration, force bool) error {
	_, err := changeNode(ctx, cluster, "remove", nodeRequest{Node: NodeSpec{Name: name}, Grace: grace, Force: force})
	return err
}

// StopNode ends a node and keeps its data.
func StopNode(ctx context.Context, cluster, name string, grace time.Duration) error {
	_, err := changeNode(ctx, cluster, "stop", nodeRequest{Node: NodeSpec{Name: name}, Grace: grace})
	return err
}

// StartNode starts a node that was stopped.
func StartNode(ctx context.Context, cluster, name string) (NodeStatus, error) {
	return changeNode(ctx, cluster, "start", nodeRequest{Node: NodeSpec{Name: name}})
}

// ListNodes are the nodes of a cluster, also of one that is down.
func ListNodes(ctx context.Context, cluster string) ([]NodeStatus, error) {
	s, err := ReadStatus(ctx, cluster)
	if err != nil || s.Running {
		return s.Nodes, err
	}
	c, err := LoadConfig(cluster)
	if err != nil {
		return nil, err
	}
	for _, spec := range c.NodeSpecs() {
		s.Nodes = append(s.Nodes, describeNode(c, spec))
	}
	return s.Nodes, nil
}

// changeNode asks the server of a cluster for a change, and waits for it.
func changeNode(ctx context.Context, cluster, action string, r nodeRequest) (NodeStatus, error) {
	var st NodeStatus
	if err := RequireRoot(); err != nil {
		return st, err
	}
	status, err := ReadStatus(ctx, cluster)
	if err != nil {
		return st, err
	}
	if !status.Ready {
		return st, fmt.Errorf("cluster %q is not up: `minato up%s` first", cluster, nameFlag(cluster))
	}
	body, err := json.Marshal(r)
	if err != nil {
		return st, err
	}
	var answer reply
	if err := callWith(ctx, Paths{Name: cluster}, http.MethodPost, "/nodes/"+action, bytes.NewReader(body), &answer); err != nil {
		return st, err
	}
	if answer.Error != "" {
		return st, fmt.Errorf("cluster %q: %s", cluster, answer.Error)
	}
	return st, json.Unmarshal(answer.Value, &st)
}

// handleNodes serves the requests that changeNode makes. Until a change is made,
// no other one begins.
func (s *Server) handleNodes(mux *http.ServeMux) {
	answer := func(action string, change func(context.Context, nodeRequest) (NodeStatus, error)) {
		mux.HandleFunc("POST /nodes/"+action, func(w http.ResponseWriter, r *http.Request) {
			var req nodeRequest
			var out reply
			var st NodeStatus
			err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNodeRequest)).Decode(&req)
			if err == nil {
				st, err = change(r.Context(), req)
			}
			if err == nil {
				out.Value, err = json.Marshal(st)
			}
			if err != nil {
				out = reply{Error: err.Error()}
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(out)
		})
	}
	answer("add", func(ctx context.Context, r nodeRequest) (NodeStatus, error) { return s.AddNode(ctx, r.Node) })
	answer("start", func(ctx context.Context, r nodeRequest) (NodeStatus, error) { return s.StartNode(ctx, r.Node.Name) })
	answer("stop", func(ctx context.Context, r nodeRequest) (NodeStatus, error) {
		return NodeStatus{}, s.StopNode(ctx, r.Node.Name, r.Grace)
	})
	answer("remove", func(ctx context.Context, r nodeRequest) (NodeStatus, error) {
		return NodeStatus{}, s.RemoveNode(ctx, r.Node.Name, r.Grace, r.Force)
	})
}
