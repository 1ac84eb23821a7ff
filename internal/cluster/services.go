package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"minato/internal/service/dataplane"
	"minato/internal/service/show"
)

// Service is a Service as a node's data plane holds it.
type Service = show.Service

// DataPlaneDump is what the kernel of a node holds.
type DataPlaneDump = dataplane.Dump

// ListServices writes Services as a table.
func ListServices(out io.Writer, services []Service) error { return show.List(out, services) }

// ReadServices asks the cluster's server what a node makes of every Service.
func ReadServices(ctx context.Context, name, node string) ([]Service, error) {
	var out []Service
	err := callNode(ctx, name, "/services", node, &out)
	return out, err
}

// DumpServices asks the cluster's server for the tables of a node's data plane.
func DumpServices(ctx context.Context, name, node string) (*DataPlaneDump, error) {
	out := new(DataPlaneDump)
	err := callNode(ctx, name, "/services/dump", node, out)
	return out, err
}

// reply is what the server answers about a node: one of the two.
type reply struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

func callNode(ctx context.Context, name, path, node string, out any) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	if _, err := LoadConfig(name); err != nil {
		return err
	}
	var r reply
	if err := call(ctx, Paths{Name: name}, http.MethodGet, path+"?node="+url.QueryEscape(node), &r); err != nil {
		return err
	}
	if r.Error != "" {
		return fmt.Errorf("cluster %q: %s", name, r.Error)
	}
	return json.Unmarshal(r.Value, out)
}

// serviceReader reads what a node does with Services.
type serviceReader interface {
	services(node string) ([]Service, error)
	serviceDump(node string) (*DataPlaneDump, error)
}

func handleServices(mux *http.ServeMux, s serviceReader) {
	mux.HandleFunc("GET /services", func(w http.ResponseWriter, r *http.Request) {
		v, err := s.services(r.URL.Query().Get("node"))
		answerValue(w, v, err)
	})
	mux.HandleFunc("GET /services/dump", func(w http.ResponseWriter, r *http.Request) {
		v, err := s.serviceDump(r.URL.Query().Get("node"))
		answerValue(w, v, err)
	})
}

func answerValue(w http.ResponseWriter, v any, err error) {
	var out reply
	if err == nil {
		out.Value, err = json.Marshal(v)
	}
	if err != nil {
		out = reply{Error: err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(out)
}

// nodeNamed finds a node that is up.
func (s *Server) nodeNamed(name string) (*node, error) {
	var names []string
	for _, n := range s.nodes {
		names = append(names, n.name)
		if n.name != name {
			continue
		}
		if !n.isUp.Load() {
			return nil, fmt.Errorf("node %s is not up yet; wait for it with `minato status`", name)
		}
		return n, nil
	}
	return nil, fmt.Errorf("there is no node %q; the nodes are %v", name, names)
}

func (s *Server) services(name string) ([]Service, error) {
	n, err := s.nodeNamed(name)
	if err != nil {
		return nil, err
	}
	traffic, err := n.data.Traffic()
	if err != nil {
		return nil, err
	}
	visits, err := n.data.Visits()
	if err != nil {
		return nil, err
	}
	out := []Service{}
	for _, e := range n.services.Explain() {
		out = append(out, show.Describe(e.Service, n.name, n.data.Holds(e.Service, e.Frontends), e.Why, traffic, visits))
	}
	return out, nil
}

func (s *Server) serviceDump(name string) (*DataPlaneDump, error) {
	n, err := s.nodeNamed(name)
	if err != nil {
		return nil, err
	}
	return n.data.Dump()
}
