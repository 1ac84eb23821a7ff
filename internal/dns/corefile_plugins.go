package dns

import (
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (r *corefileReader) kubernetes(d directive) {
	for _, z := range d.args[1:] {
		z = dns.CanonicalName(z)
		if z != r.domain && !strings.HasSuffix(z, ".arpa.") {
			r.note(d, "the cluster's domain is %s and cannot be changed here to %s", r.domain, z)
		}
	}
	for _, sub := range d.body {
		switch sub.args[0] {
		case "pods":
			if len(sub.args) == 2 && (sub.args[1] == "insecure" || sub.args[1] == "verified" || sub.args[1] == "disabled") {
				r.config.Pods = sub.args[1]
			} else {
				r.note(sub, "use insecure, verified or disabled")
			}
		case "ttl":
			r.config.TTL = r.number(sub)
		case "fallthrough", "kubeconfig", "endpoint", "tls":
			// Names outside the cluster are always forwarded, and the Corefile does not say how the API server is reached.
		default:
			r.note(sub, "this setting of kubernetes is not understood")
		}
	}
}

// number reads the one number after a directive's name.
func (r *corefileReader) number(d directive) *uint32 {
	if len(d.args) == 2 {
		if n, err := strconv.ParseUint(d.args[1], 10, 32); err == nil {
			v := uint32(n)
			return &v
		}
	}
	r.note(d, "a whole number of 0 or more is missing")
	return nil
}

func (r *corefileReader) forward(d directive) {
	from, up := r.upstream(d)
	if from == "." {
		r.config.Upstream = up
	} else if len(up.Servers) > 0 {
		r.config.Stubs = append(r.config.Stubs, Stub{Domain: from, Upstream: up})
	}
}

// upstream reads a forward line. A resolv.conf file stands for the node's own
// resolvers, which are the default.
func (r *corefileReader) upstream(d directive) (from string, up Upstream) {
	if len(d.args) < 3 {
		r.note(d, "a domain and an upstream are missing")
		return "", up
	}
	for _, to := range d.args[2:] {
		scheme, rest, found := strings.Cut(to, "://")
		switch {
		case strings.HasPrefix(to, "/"):
			if len(d.args) > 3 || d.args[1] != "." {
				r.note(d, "the file %s is not used; only `forward . FILE` alone stands for the node's own resolvers", to)
			}
			continue
		case found && scheme != "dns":
			r.note(d, "upstreams over %s are not understood", scheme)
			continue
		case found:
			to = rest
		}
		var f fieldErrors
		if f.server("forward", to); f.err() != nil {
			r.note(d, "%q is not the address of an upstream", to)
			continue
		}
		up.Servers = append(up.Servers, to)
	}
	up.Policy = "random" // as CoreDNS does
	if len(up.Servers) < 2 {
		up.Policy = ""
	}
	for _, sub := range d.body {
		r.forwardOption(sub, &up)
	}
	return d.args[1], up
}

func (r *corefileReader) forwardOption(d directive, up *Upstream) {
	switch d.args[0] {
	case "policy":
		switch {
		case len(d.args) == 2 && d.args[1] == "sequential":
			up.Policy = "ordered"
		case len(d.args) == 2 && (d.args[1] == "random" || d.args[1] == "round_robin"):
			up.Policy = "random"
		default:
			r.note(d, "use random, round_robin or sequential")
		}
	case "except":
		up.Except = append(up.Except, d.args[1:]...)
	case "force_tcp":
		up.TCP = true
	case "max_concurrent":
		if n := r.number(d); n != nil {
			r.config.MaxConcurrent = int(*n)
		}
	case "prefer_udp", "max_fails", "expire", "health_check", "next", "failfast_all_unhealthy_upstreams":
		// The forwarder has its own health checks and opens a socket for each question.
	default:
		r.note(d, "this setting of forward is not understood")
	}
}

func (r *corefileReader) cache(d directive) {
	c := &r.config.Cache
	if len(d.args) > 1 {
		if n := r.number(directive{line: d.line, args: d.args[:2]}); n != nil {
			negative := min(*n, 1800)
			c.MaxTTL, c.MaxNegativeTTL = n, &negative
		}
	}
	for _, sub := range d.body {
		switch sub.args[0] {
		case "success", "denial": // CAPACITY [TTL] [MINTTL]
			if len(sub.args) > 2 {
				n := r.number(directive{line: sub.line, args: []string{sub.args[0], sub.args[2]}})
				if sub.args[0] == "success" {
					c.MaxTTL = n
				} else {
					c.MaxNegativeTTL = n
				}
			}
		case "prefetch":
			c.NoPrefetch = len(sub.args) > 1 && sub.args[1] == "0"
		case "serve_stale":
			c.ServeStale = &metav1.Duration{Duration: time.Hour}
			if len(sub.args) > 1 {
				if v, err := time.ParseDuration(sub.args[1]); err == nil {
					c.ServeStale.Duration = v
				} else {
					r.note(sub, "%q is not a duration", sub.args[1])
				}
			}
		case "servfail", "disable", "keepttl":
			// Failures and answers about the cluster are never cached, and a cached record's TTL always counts down.
		default:
			r.note(sub, "this setting of cache is not understood")
		}
	}
}

func (r *corefileReader) hosts(d directive) {
	entry := func(args []string) {
		var f fieldErrors
		h := Host{IP: args[0], Names: args[1:]}
		f.hosts(&policy{}, []Host{h})
		if err := f.err(); err != nil {
			r.note(d, "%s is not used: %v", strings.Join(args, " "), err)
			return
		}
		r.config.Hosts = append(r.config.Hosts, h)
	}
	for _, a := range d.args[1:] {
		if strings.HasPrefix(a, "/") {
			r.note(d, "the file %s is not read; write its lines into the block", a)
		}
	}
	for _, sub := range d.body {
		switch sub.args[0] {
		case "ttl":
			r.config.HostsTTL = r.number(sub)
		case "fallthrough", "no_reverse", "reload":
			// A name that is not in the list is always looked up elsewhere.
		default:
			entry(sub.args)
		}
	}
}

func (r *corefileReader) rewrite(d directive) {
	args := d.args[1:]
	if len(args) > 0 && (args[0] == "stop" || args[0] == "continue") {
		if args[0] == "continue" {
			r.note(d, "only the first rewrite that fits is used, as with stop")
		}
		args = args[1:]
	}
	if len(args) == 0 && len(d.body) > 0 && d.body[0].args[0] == "name" {
		args = d.body[0].args // its "answer" lines ask for the name that was asked for, which answers always have
	}
	if len(args) < 3 || args[0] != "name" {
		r.note(d, "only rewrites of names are understood")
		return
	}
	args = args[1:]
	rule := Rewrite{Match: "exact"}
	switch args[0] {
	case "exact", "prefix", "suffix", "substring", "regex":
		rule.Match, args = args[0], args[1:]
	}
	if len(args) < 2 {
		r.note(d, "a name is missing")
		return
	}
	rule.From, rule.To = args[0], args[1]
	var f fieldErrors
	if f.rewrite("rewrite", rule); f.err() != nil {
		r.note(d, "%v", f.err())
		return
	}
	r.config.Rewrites = append(r.config.Rewrites, rule)
}
