package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"minato/internal/dns/zone"
)

// Config is the cluster DNS's configuration as people write it, in the
// ConfigMap kube-system/minato-dns. The zero value of everything is a working
// default.
type Config struct {
	// TTL is that of the cluster's own records and of negative answers, in seconds.
	TTL *uint32 `json:"ttl,omitempty"`
	// Pods says which <dashed-ip>.<namespace>.pod names exist: insecure,
	// verified or disabled.
	Pods string `json:"pods,omitempty"`
	// Upstream resolves every other name; without servers, the node's own
	// resolvers do.
	Upstream Upstream `json:"upstream,omitzero"`
	// Stubs resolve the names of single domains.
	Stubs []Stub `json:"stubs,omitempty"`
	// Hosts are names with fixed addresses.
	Hosts []Host `json:"hosts,omitempty"`
	// HostsTTL is the TTL of their records, in seconds.
	HostsTTL *uint32 `json:"hostsTTL,omitempty"`
	// Rewrites change the name that is asked for; the first that fits is used.
	Rewrites []Rewrite `json:"rewrites,omitempty"`
	Cache    Cache     `json:"cache,omitzero"`
	// Log says which questions are logged: none, errors or all.
	Log string `json:"log,omitempty"`
	// Autopath answers the first name of a Pod's search path with what the whole
	// path would lead to. It is off unless asked for, because the answer then has
	// another name than the client would have found.
	Autopath bool `json:"autopath,omitempty"`
	// MaxConcurrent bounds the questions that wait for upstreams at once.
	MaxConcurrent int `json:"maxConcurrent,omitempty"`
}

// Upstream is a group of resolvers.
type Upstream struct {
	// Servers are addresses, with ":port" if it is not 53.
	Servers []string `json:"servers,omitempty"`
	// Policy says which server is asked first: ordered (the first that is healthy),
	// random or parallel (all at once).
	Policy string `json:"policy,omitempty"`
	// Except lists domains whose names these servers are never asked for.
	Except []string `json:"except,omitempty"`
	// TCP asks over TCP only.
	TCP bool `json:"tcp,omitempty"`
}

// Stub is a domain with resolvers of its own.
type Stub struct {
	Domain   string `json:"domain"`
	Upstream `json:",inline"`
}

// Host is an address and its names.
type Host struct {
	IP    string   `json:"ip"`
	Names []string `json:"names"`
}

// Rewrite replaces a name, or a part of it, before it is looked up. The answer
// carries the name that was asked for.
type Rewrite struct {
	// Match is exact, prefix, suffix, substring or regex.
	Match string `json:"match"`
	From  string `json:"from"`
	// To may use {1}, {2}, … of a regex.
	To string `json:"to"`
}

// Cache says how answers of upstreams are kept. Answers about the cluster
// itself are never cached.
type Cache struct {
	Disabled bool `json:"disabled,omitempty"`
	// MaxTTL and MaxNegativeTTL bound how long an answer is kept, in seconds.
	MaxTTL         *uint32 `json:"maxTTL,omitempty"`
	MaxNegativeTTL *uint32 `json:"maxNegativeTTL,omitempty"`
	// MaxBytes bounds the cache of one node.
	MaxBytes int `json:"maxBytes,omitempty"`
	// NoPrefetch stops the renewal of popular answers before they expire.
	NoPrefetch bool `json:"noPrefetch,omitempty"`
	// ServeStale is how long an expired answer may still be given while no upstream
	// answers; 0s turns it off.
	ServeStale *metav1.Duration `json:"serveStale,omitempty"`
}

// What the zero values of a Config stand for.
const (
	defaultHostsTTL       = 3600
	defaultMaxTTL         = 3600
	defaultMaxNegativeTTL = 30
	defaultMaxBytes       = 16 << 20
	defaultServeStale     = time.Hour
	defaultMaxConcurrent  = 1000

	minMaxBytes = 64 << 10
	maxMaxBytes = 1 << 30
	maxTTL      = 86400
)

// ParseConfig reads and checks the YAML of a Config. domain is the cluster's.
func ParseConfig(text []byte, domain string) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, fmt.Errorf("dns configuration: %w", err)
	}
	if _, err := newPolicy(c, domain); err != nil {
		return Config{}, err
	}
	return c, nil
}

// fieldErrors collects the errors of a configuration, each with its field's name.
type fieldErrors struct{ errs []error }

func (f *fieldErrors) add(field, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("dns configuration: %s: %w", field, fmt.Errorf(format, args...)))
}

func (f *fieldErrors) err() error { return errors.Join(f.errs...) }

func (f *fieldErrors) ttl(field string, v *uint32, fallback uint32) uint32 {
	if v == nil {
		return fallback
	}
	if *v > maxTTL {
		f.add(field, "%d seconds are more than a day; use 0 to %d", *v, maxTTL)
	}
	return *v
}

// oneOf returns the index of value in allowed, whose first is the default.
func (f *fieldErrors) oneOf(field, value string, allowed ...string) int {
	if value == "" {
		return 0
	}
	for i, a := range allowed {
		if value == a {
			return i
		}
	}
	f.add(field, "%q is not known; use one of %s", value, strings.Join(allowed, ", "))
	return 0
}

// domain makes a domain name absolute and lower case.
func (f *fieldErrors) domain(field, name string) string {
	abs := dns.CanonicalName(name)
	if _, ok := dns.IsDomainName(name); !ok || name == "" || strings.ContainsAny(name, " \\\t\"();") {
		f.add(field, "%q is not a domain name; use one such as corp.example", name)
	}
	return abs
}

// server reads "192.0.2.1", "192.0.2.1:53", "2001:db8::1" or "[2001:db8::1]:53".
func (f *fieldErrors) server(field, text string) netip.AddrPort {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a.Unmap(), 53)
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil || ap.Port() == 0 {
		f.add(field, "%q is not an IP address, with a port or without, such as 192.0.2.1 or 192.0.2.1:53; names cannot be used, as they would have to be looked up first", text)
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// podMode turns Config.Pods into the zone's.
func (f *fieldErrors) podMode(text string) zone.PodMode {
	return [...]zone.PodMode{zone.PodsInsecure, zone.PodsVerified, zone.PodsDisabled}[f.oneOf("pods", text, "insecure", "verified", "disabled")]
}
