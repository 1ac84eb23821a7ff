package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/dns"
	"minato/internal/explain"
	"minato/internal/loadbalancer"
	balancing "minato/internal/loadbalancer/show"
	"minato/internal/member"
	"minato/internal/node/spec"
	"minato/internal/service/dataplane"
	"minato/internal/service/show"
)

// Service is a Service as a node's data plane holds it.
type Service = show.Service

// DataPlaneDump is what the kernel of a node holds.
type DataPlaneDump = dataplane.Dump

// DNSQuestion is a name to be looked up as a Pod would do it, DNSStory how it
// was answered and why.
type (
	DNSQuestion = explain.Question
	DNSStory    = explain.Story
)

// LoadBalancer is a Service of type LoadBalancer with the reasons for its
// addresses and for who announces them.
type LoadBalancer = balancing.Service

// ListLoadBalancers writes Services of type LoadBalancer as a table.
func ListLoadBalancers(out io.Writer, services []LoadBalancer) error {
	return balancing.List(out, services)
}

// ReadLoadBalancers asks the cluster's server for every Service of type
// LoadBalancer, as a node sees the others.
func ReadLoadBalancers(ctx context.Context, name, node string) ([]LoadBalancer, error) {
	var out []LoadBalancer
	err := ask(ctx, name, "/loadbalancers", url.Values{"node": {node}}, &out)
	return out, err
}

// ListServices writes Services as a table.
func ListServices(out io.Writer, services []Service) error { return show.List(out, services) }

// ParseDNSType reads the name of a record type.
func ParseDNSType(text string) (uint16, error) { return explain.ParseType(text) }

// ReadServices asks the cluster's server for every Service as a node serves it.
func ReadServices(ctx context.Context, name, node string) ([]Service, error) {
	var out []Service
	err := ask(ctx, name, "/services", url.Values{"node": {node}}, &out)
	return out, err
}

// DumpServices asks the cluster's server for the tables of a node's data plane.
func DumpServices(ctx context.Context, name, node string) (*DataPlaneDump, error) {
	out := new(DataPlaneDump)
	err := ask(ctx, name, "/services/dump", url.Values{"node": {node}}, out)
	return out, err
}

// QueryDNS looks a name up at the DNS server of the Pod's node, and returns the
// answers with their reasons.
func QueryDNS(ctx context.Context, name string, q DNSQuestion) (DNSStory, error) {
	var story DNSStory
	err := ask(ctx, name, "/dns/query", url.Values{"name": {q.Name}, "type": {q.Type}, "from": {q.From}}, &story)
	return story, err
}

// reply is the server's answer: a value or an error.
type reply struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// ask makes a request to the cluster's server, and returns the error that the server answers with.
func ask(ctx context.Context, name, path string, values url.Values, out any) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	if _, err := LoadConfig(name); err != nil {
		return err
	}
	var r reply
	if err := call(ctx, Paths{Name: name}, http.MethodGet, path+"?"+values.Encode(), &r); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			if down := DownError(name); down != nil {
				return down
			}
		}
		return err
	}
	if r.Error != "" {
		return fmt.Errorf("cluster %q: %s", name, r.Error)
	}
	return json.Unmarshal(r.Value, out)
}

// handleInspection serves the requests that ask makes.
func (s *Server) handleInspection(mux *http.ServeMux) {
	answer := func(path string, read func(context.Context, url.Values) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			var out reply
			v, err := read(r.Context(), r.URL.Query())
			if err == nil {
				out.Value, err = json.Marshal(v)
			}
			if err != nil {
				out = reply{Error: err.Error()}
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(out)
		})
	}
	answer("/services", func(_ context.Context, v url.Values) (any, error) {
		m, err := s.nodeNamed(v.Get("node"))
		if err != nil {
			return nil, err
		}
		return explain.Services(m.Name(), m.Services())
	})
	answer("/services/dump", func(_ context.Context, v url.Values) (any, error) {
		m, err := s.nodeNamed(v.Get("node"))
		if err != nil {
			return nil, err
		}
		return m.Services().Data.Dump()
	})
	answer("/loadbalancers", func(_ context.Context, v url.Values) (any, error) {
		m, err := s.nodeNamed(v.Get("node"))
		if err != nil {
			return nil, err
		}
		var all []*loadbalancer.Node
		for _, n := range s.running() {
			if m := n.current.Load(); m != nil {
				all = append(all, m.Announcements())
			}
		}
		return explain.LoadBalancers(s.balancer, m.Announcements(), all)
	})
	answer("/programs", func(ctx context.Context, _ url.Values) (any, error) {
		for _, n := range s.running() { // they have the same
			if m := n.current.Load(); m != nil && m.Status().Ready {
				return m.Programs(ctx)
			}
		}
		return []Program{}, nil
	})
	s.answerIngress(answer)
	answer("/dns/query", func(ctx context.Context, v url.Values) (any, error) {
		return explain.DNS(ctx, s.resolvers(), DNSQuestion{Name: v.Get("name"), Type: v.Get("type"), From: v.Get("from")})
	})
}

// nodeNamed finds a node that is up.
func (s *Server) nodeNamed(name string) (*member.Member, error) {
	var names []string
	for _, n := range s.running() {
		names = append(names, n.name)
		if n.name != name {
			continue
		}
		if m := n.current.Load(); m != nil && m.Status().Ready {
			return m, nil
		}
		return nil, fmt.Errorf("node %s is not up yet; wait for it with `minato status`", name)
	}
	return nil, fmt.Errorf("there is no node %q; the nodes are %v", name, names)
}

// resolvers are the nodes' DNS servers, and what package explain needs to know
// of the Pods that ask them.
func (s *Server) resolvers() explain.Resolvers {
	r := explain.Resolvers{
		Servers: map[string]*dns.Node{}, FirstNode: NodeName(1),
		Resolver: spec.Resolver{Servers: s.cfg.DNSIPs()[:1], Domain: s.cfg.ClusterDomain},
		Pod: func(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
			if s.client == nil {
				return nil, errors.New("the API server is not ready yet; wait for it with `minato status`")
			}
			return s.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		},
	}
	if text, err := os.ReadFile(hostResolvConf); err == nil {
		r.Resolver.Node = spec.ParseResolvConf(string(text))
	}
	for _, n := range s.running() {
		if m := n.current.Load(); m != nil {
			r.Servers[n.name] = m.DNS()
		}
	}
	return r
}
