package cluster

import (
	"maps"
	"path"
	"strings"

	"minato/internal/controlplane"
	"minato/internal/member"
	agent "minato/internal/node"
	"minato/internal/partuse"
)

// newMeter measures the parts of the server.
func (s *Server) newMeter() *partuse.Meter {
	owners := map[string]string{
		"go.etcd.io/bbolt":       controlplane.PartEtcd,
		"go.etcd.io/etcd/server": controlplane.PartEtcd,
		"go.etcd.io/raft":        controlplane.PartEtcd,

		"k8s.io/kubernetes/cmd/kube-controller-manager": controlplane.KubeControllerManager.Name,
		"k8s.io/kubernetes/pkg/controller":              controlplane.KubeControllerManager.Name,
		"k8s.io/kubernetes/pkg/scheduler":               controlplane.KubeScheduler.Name,
	}
	maps.Copy(owners, member.Owners())
	return partuse.New(partuse.Config{
		Owner:  func(function string) string { return codeOwner(function, owners) },
		Logger: s.log,
	})
}

// codeOwner looks a function's package up, and those above it.
func codeOwner(function string, owners map[string]string) string {
	dir, name := path.Split(function)
	name, _, _ = strings.Cut(name, ".")
	for pkg := dir + name; pkg != "." && pkg != "/"; pkg = path.Dir(pkg) {
		if owner, ok := owners[pkg]; ok {
			return owner
		}
	}
	return ""
}

// controlUse tells what a part of the control plane uses. The API server has what no
// other part that is shown has: what it does for them, what they share, and what the
// process needs as a whole.
func (s *Server) controlUse(part string) func() (agent.PartUse, error) {
	return func() (agent.PartUse, error) {
		if part != controlplane.KubeAPIServer {
			u := s.use.Use(partuse.Key{Part: part})
			return agent.PartUse{CPU: u.CPU, Memory: u.Memory}, nil
		}
		u, err := s.use.Rest(s.shownKeys()...)
		return agent.PartUse{CPU: u.CPU, Memory: u.Memory}, err
	}
}

// shownKeys are all parts that are shown, but the API server.
func (s *Server) shownKeys() []partuse.Key {
	out := []partuse.Key{{Part: controlplane.PartEtcd}, {Part: controlplane.KubeControllerManager.Name}, {Part: controlplane.KubeScheduler.Name}}
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	for _, n := range s.nodes.running {
		if m := n.current.Load(); m != nil {
			out = append(out, m.Parts()...)
		}
	}
	return out
}

// nodesHere counts the nodes that run.
func (s *Server) nodesHere() int {
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	return len(s.nodes.running)
}
