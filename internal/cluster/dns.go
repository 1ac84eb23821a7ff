package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	mdns "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/dns"
	"minato/internal/node/spec"
)

// DNSQuestion is a look-up as a Pod makes it.
type DNSQuestion struct {
	Name string
	Type string // "A", "SRV", …
	// From is the Pod, NAMESPACE/NAME; empty asks for Name alone, with no search path.
	From string
}

// DNSStory is what became of a DNSQuestion.
type DNSStory struct {
	From    string            `json:"from,omitempty"`
	Node    string            `json:"node"`
	Server  string            `json:"server"`
	Search  dns.SearchPath    `json:"searchPath"`
	Queries []dns.Explanation `json:"queries"`
	Error   string            `json:"error,omitempty"`
}

// QueryDNS asks the DNS server of the Pod's node, and why it answers so.
func QueryDNS(ctx context.Context, name string, q DNSQuestion) (DNSStory, error) {
	var story DNSStory
	if err := ValidateName(name); err != nil {
		return story, err
	}
	if _, err := LoadConfig(name); err != nil {
		return story, err
	}
	values := url.Values{"name": {q.Name}, "type": {q.Type}, "from": {q.From}}
	if err := call(ctx, Paths{Name: name}, http.MethodGet, "/dns/query?"+values.Encode(), &story); err != nil {
		return story, err
	}
	if story.Error != "" {
		return story, errors.New(story.Error)
	}
	return story, nil
}

// ParseDNSType reads the name of a record type.
func ParseDNSType(text string) (uint16, error) {
	if t, ok := mdns.StringToType[strings.ToUpper(text)]; ok {
		return t, nil
	}
	return 0, fmt.Errorf("%q is no record type; use one such as A, AAAA, SRV, PTR, CNAME or TXT", text)
}

func (s *Server) handleDNS(mux *http.ServeMux) {
	mux.HandleFunc("GET /dns/query", func(w http.ResponseWriter, r *http.Request) {
		v := r.URL.Query()
		story, err := s.queryDNS(r.Context(), DNSQuestion{Name: v.Get("name"), Type: v.Get("type"), From: v.Get("from")})
		if err != nil {
			story.Error = err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(story)
	})
}

func (s *Server) queryDNS(ctx context.Context, q DNSQuestion) (DNSStory, error) {
	qtype, err := ParseDNSType(q.Type)
	if err != nil {
		return DNSStory{}, err
	}
	if _, ok := mdns.IsDomainName(q.Name); !ok || q.Name == "" {
		return DNSStory{}, fmt.Errorf("%q is no DNS name", q.Name)
	}
	n, client, path := s.nodes[0], netip.Addr{}, dns.SearchPath{}
	if q.From != "" {
		if n, client, path, err = s.resolverOf(ctx, q.From); err != nil {
			return DNSStory{}, err
		}
	}
	return DNSStory{
		From: q.From, Node: n.name, Server: s.cfg.DNSIPs()[0].String(), Search: path,
		Queries: n.dns.ExplainSearch(ctx, q.Name, qtype, client, path),
	}, nil
}

// resolverOf finds the node of a Pod, its address and how it makes names absolute.
func (s *Server) resolverOf(ctx context.Context, from string) (*node, netip.Addr, dns.SearchPath, error) {
	namespace, name, found := strings.Cut(from, "/")
	if !found {
		namespace, name = metav1.NamespaceDefault, from
	}
	fail := func(err error) (*node, netip.Addr, dns.SearchPath, error) {
		return nil, netip.Addr{}, dns.SearchPath{}, err
	}
	pod, err := s.shared.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fail(fmt.Errorf("the Pod to ask from: %w", err))
	}
	resolver := spec.Resolver{Servers: s.cfg.DNSIPs()[:1], Domain: s.cfg.ClusterDomain}
	if text, err := os.ReadFile(hostResolvConf); err == nil {
		resolver.Node = spec.ParseResolvConf(string(text))
	}
	conf, _ := resolver.DNS(pod)
	path := dns.SearchPath{Domains: conf.Searches, Ndots: 1}
	for _, o := range conf.Options {
		if v, ok := strings.CutPrefix(o, "ndots:"); ok {
			if path.Ndots, err = strconv.Atoi(v); err != nil {
				return fail(fmt.Errorf("Pod %s: option %s: %w", from, o, err))
			}
		}
	}
	if len(conf.Servers) == 0 || conf.Servers[0] != s.cfg.DNSIPs()[0].String() {
		return fail(fmt.Errorf("the Pod %s/%s does not ask the cluster DNS but %s (dnsPolicy %s)", namespace, name, strings.Join(conf.Servers, ", "), pod.Spec.DNSPolicy))
	}
	for _, n := range s.nodes {
		if n.name == pod.Spec.NodeName {
			addr, _ := netip.ParseAddr(pod.Status.PodIP) // a Pod that is starting has none
			return n, addr, path, nil
		}
	}
	return fail(fmt.Errorf("the Pod %s/%s is on no node yet", namespace, name))
}

// dnsMetricsPort is where a node tells how its DNS server does.
const dnsMetricsPort = 9153

// serveDNSEndpoints answers /metrics, /health and /ready on the node's addresses.
func (n *node) serveDNSEndpoints(ctx context.Context) error {
	listeners, err := n.listen(ctx, dnsMetricsPort)
	if err != nil {
		return fmt.Errorf("DNS metrics: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(dns.NewMetrics(n.dns, n.server.shared.zone))
	return dns.ServeHTTP(ctx, n.dns.Handler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})), listeners...)
}
