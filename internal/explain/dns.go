package explain

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/dns"
	"minato/internal/node/spec"
)

// Question is a name to be looked up as a Pod would do it.
type Question struct {
	Name string
	Type string // "A", "SRV", …
	// From is the Pod, NAMESPACE/NAME; empty asks for Name alone, with no search path.
	From string
}

// Story says how a Question was answered: by which server, with which search
// path, and the reasons of each answer.
type Story struct {
	From    string            `json:"from,omitempty"`
	Node    string            `json:"node"`
	Server  string            `json:"server"`
	Search  dns.SearchPath    `json:"searchPath"`
	Queries []dns.Explanation `json:"queries"`
}

// Resolvers are the nodes' DNS servers, and what decides which of them a Pod
// asks for which names.
type Resolvers struct {
	// Servers are the DNS servers of the nodes, by the node's name; that of
	// FirstNode is asked if the question comes from no Pod.
	Servers   map[string]*dns.Node
	FirstNode string
	// Pod reads a Pod.
	Pod func(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	// Resolver is the configuration that the nodes' agents make the resolv.conf
	// files of Pods from.
	Resolver spec.Resolver
}

// ParseType reads the name of a record type.
func ParseType(text string) (uint16, error) {
	if t, ok := mdns.StringToType[strings.ToUpper(text)]; ok {
		return t, nil
	}
	return 0, fmt.Errorf("%q is no record type; use one such as A, AAAA, SRV, PTR, CNAME or TXT", text)
}

// DNS looks a name up at the DNS server of the Pod's node, as the Pod's resolver
// would, and tells the reasons of the answer.
func DNS(ctx context.Context, r Resolvers, q Question) (Story, error) {
	qtype, err := ParseType(q.Type)
	if err != nil {
		return Story{}, err
	}
	if _, ok := mdns.IsDomainName(q.Name); !ok || q.Name == "" {
		return Story{}, fmt.Errorf("%q is no DNS name", q.Name)
	}
	from := origin{node: r.FirstNode}
	if q.From != "" {
		if from, err = r.origin(ctx, q.From); err != nil {
			return Story{}, err
		}
	}
	server := r.Servers[from.node]
	if server == nil {
		return Story{}, fmt.Errorf("node %s has no DNS server", from.node)
	}
	queries, err := server.ExplainSearch(ctx, q.Name, qtype, from.address, from.path)
	if err != nil {
		return Story{}, fmt.Errorf("node %s: %w", from.node, err)
	}
	return Story{From: q.From, Node: from.node, Server: r.Resolver.Servers[0].String(), Search: from.path, Queries: queries}, nil
}

// origin is where a question comes from: the Pod's node, the Pod's address, and
// the search path by which it makes names absolute.
type origin struct {
	node    string
	address netip.Addr
	path    dns.SearchPath
}

func (r Resolvers) origin(ctx context.Context, from string) (origin, error) {
	namespace, name, found := strings.Cut(from, "/")
	if !found {
		namespace, name = metav1.NamespaceDefault, from
	}
	pod, err := r.Pod(ctx, namespace, name)
	if err != nil {
		return origin{}, fmt.Errorf("read the Pod that asks: %w", err)
	}
	if pod.Spec.NodeName == "" {
		return origin{}, fmt.Errorf("the Pod %s/%s is not bound to a node yet", namespace, name)
	}
	conf, _ := r.Resolver.DNS(pod)
	path := dns.SearchPath{Domains: conf.Searches, Ndots: 1}
	for _, o := range conf.Options {
		if v, ok := strings.CutPrefix(o, "ndots:"); ok {
			if path.Ndots, err = strconv.Atoi(v); err != nil {
				return origin{}, fmt.Errorf("Pod %s: option %s: %w", from, o, err)
			}
		}
	}
	if len(conf.Servers) == 0 || conf.Servers[0] != r.Resolver.Servers[0].String() {
		return origin{}, fmt.Errorf("the Pod %s/%s does not ask the cluster DNS but %s (dnsPolicy %s)", namespace, name, strings.Join(conf.Servers, ", "), pod.Spec.DNSPolicy)
	}
	address, _ := netip.ParseAddr(pod.Status.PodIP) // a Pod that is starting has none
	return origin{node: pod.Spec.NodeName, address: address, path: path}, nil
}
