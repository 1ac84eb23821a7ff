package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Limits of a Pod's resolv.conf, which Kubernetes sets above the old ones of
// the C library.
const (
	maxNameservers      = 3
	maxSearchPaths      = 32
	maxSearchListLength = 2048
	maxSearchPathLength = 253
)

// Resolver is what a node knows about name resolution.
type Resolver struct {
	// Servers and Domain are the cluster's.
	Servers []netip.Addr
	Domain  string
	// Node is the node's own resolv.conf.
	Node *runtimeapi.DNSConfig
}

// ParseResolvConf reads the text of a resolv.conf.
func ParseResolvConf(text string) *runtimeapi.DNSConfig {
	c := &runtimeapi.DNSConfig{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			if len(f) > 1 {
				c.Servers = append(c.Servers, f[1])
			}
		case "search": // the last such line counts
			c.Searches = nil
			for _, s := range f[1:] {
				if s != "." {
					c.Searches = append(c.Searches, strings.TrimSuffix(s, "."))
				}
			}
		case "options":
			c.Options = mergeOptions(c.Options, f[1:])
		}
	}
	return c
}

// DNS computes the resolv.conf of a Pod from its dnsPolicy and dnsConfig. The
// warnings say what had to be left out to stay within the limits.
func (r Resolver) DNS(pod *v1.Pod) (config *runtimeapi.DNSConfig, warnings []string) {
	c := r.byPolicy(pod)
	if extra := pod.Spec.DNSConfig; extra != nil {
		c.Servers = appendUnique(c.Servers, extra.Nameservers...)
		c.Searches = appendUnique(c.Searches, extra.Searches...)
		var options []string
		for _, o := range extra.Options {
			if o.Value != nil && *o.Value != "" {
				options = append(options, o.Name+":"+*o.Value)
			} else {
				options = append(options, o.Name)
			}
		}
		c.Options = mergeOptions(c.Options, options)
	}
	return limit(c)
}

func (r Resolver) byPolicy(pod *v1.Pod) *runtimeapi.DNSConfig {
	node := r.Node
	if node == nil {
		node = &runtimeapi.DNSConfig{}
	}
	policy := pod.Spec.DNSPolicy
	switch {
	case policy == v1.DNSNone:
		return &runtimeapi.DNSConfig{}
	case policy == v1.DNSDefault,
		policy == v1.DNSClusterFirst && pod.Spec.HostNetwork,
		len(r.Servers) == 0:
		return &runtimeapi.DNSConfig{
			Servers:  slices.Clone(node.Servers),
			Searches: slices.Clone(node.Searches),
			Options:  slices.Clone(node.Options),
		}
	}
	c := &runtimeapi.DNSConfig{Options: []string{"ndots:5"}}
	for _, a := range r.Servers {
		c.Servers = append(c.Servers, a.String())
	}
	if r.Domain != "" {
		c.Searches = []string{pod.Namespace + ".svc." + r.Domain, "svc." + r.Domain, r.Domain}
	}
	c.Searches = appendUnique(c.Searches, node.Searches...)
	return c
}

func limit(c *runtimeapi.DNSConfig) (*runtimeapi.DNSConfig, []string) {
	var warnings []string
	if len(c.Servers) > maxNameservers {
		c.Servers = c.Servers[:maxNameservers]
		warnings = append(warnings, fmt.Sprintf("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: %s", strings.Join(c.Servers, " ")))
	}
	before := len(c.Searches)
	c.Searches = slices.DeleteFunc(c.Searches, func(s string) bool { return len(s) > maxSearchPathLength })
	if len(c.Searches) > maxSearchPaths {
		c.Searches = c.Searches[:maxSearchPaths]
	}
	for len(strings.Join(c.Searches, " ")) > maxSearchListLength {
		c.Searches = c.Searches[:len(c.Searches)-1]
	}
	if len(c.Searches) < before {
		warnings = append(warnings, fmt.Sprintf("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: %s", strings.Join(c.Searches, " ")))
	}
	return c, warnings
}

// mergeOptions adds options; one that is there already takes the new value.
func mergeOptions(have, add []string) []string {
	name := func(o string) string { n, _, _ := strings.Cut(o, ":"); return n }
	for _, o := range add {
		if i := slices.IndexFunc(have, func(h string) bool { return name(h) == name(o) }); i >= 0 {
			have[i] = o
		} else {
			have = append(have, o)
		}
	}
	return have
}

func appendUnique(have []string, add ...string) []string {
	for _, a := range add {
		if !slices.Contains(have, a) {
			have = append(have, a)
		}
	}
	return have
}
