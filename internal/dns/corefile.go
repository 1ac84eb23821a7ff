package dns

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// ParseCorefile reads a Corefile as kubeadm writes it, and people extend it:
// forward, stub domains, hosts, cache, log, rewrite, autopath and the settings
// of kubernetes. notes name each line that is not understood or has no effect; an
// error means that the text is not a Corefile.
func ParseCorefile(text, domain string) (c Config, notes []string, err error) {
	blocks, err := readCorefile(text)
	if err != nil {
		return Config{}, nil, fmt.Errorf("Corefile: %w", err)
	}
	if len(blocks) > 1 && blocks[0].body == nil { // a single server's braces may be left out
		blocks[0].body = blocks[1:]
		blocks = blocks[:1]
	}
	r := corefileReader{config: &c, domain: dns.CanonicalName(domain)}
	for _, b := range blocks {
		r.block(b)
	}
	return c, r.notes, nil
}

// corefileReader turns server blocks into a Config.
type corefileReader struct {
	config *Config
	domain string
	notes  []string
}

func (r *corefileReader) note(d directive, format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf("Corefile line %d: %s: %s", d.line, strings.Join(d.args, " "), fmt.Sprintf(format, args...)))
}

// block reads one server block. The root's is the main configuration; another
// domain's is a stub.
func (r *corefileReader) block(b directive) {
	var domains []string
	root := false
	for _, key := range b.args {
		key = strings.TrimSuffix(key, ",")
		scheme, rest, found := strings.Cut(key, "://")
		if !found {
			rest = key
		} else if scheme != "dns" {
			r.note(b, "only plain DNS is served, not %s", scheme)
			continue
		}
		name, port, found := strings.Cut(rest, ":")
		if found && port != "53" {
			r.note(b, "the port %s is not opened; the domain is answered on the cluster DNS address", port)
		}
		switch {
		case name == "." || name == "":
			root = true
		case strings.Contains(name, "("):
			r.note(b, "snippets are not understood; write their lines into the block")
		default:
			domains = append(domains, dns.CanonicalName(name))
		}
	}
	if root {
		for _, d := range b.body {
			r.main(d)
		}
	}
	for _, domain := range domains {
		switch {
		case domain != r.domain:
			r.stub(domain, b)
		case !root:
			for _, d := range b.body {
				r.main(d)
			}
		}
	}
}

func (r *corefileReader) main(d directive) {
	switch d.args[0] {
	case "errors", "health", "ready", "loop", "reload", "loadbalance", "prometheus", "bind", "multisocket":
		// The server always does these, or does not need them.
	case "log":
		r.log(d)
	case "kubernetes":
		r.kubernetes(d)
	case "forward", "proxy":
		r.forward(d)
	case "cache":
		r.cache(d)
	case "hosts":
		r.hosts(d)
	case "rewrite":
		r.rewrite(d)
	case "autopath":
		r.config.Autopath = true
	default:
		r.note(d, "this plugin is not understood and has no effect")
	}
}

func (r *corefileReader) stub(domain string, b directive) {
	found := false
	for _, d := range b.body {
		switch d.args[0] {
		case "forward", "proxy":
			from, up := r.upstream(d)
			if from != "." && dns.CanonicalName(from) != domain {
				r.note(d, "in the block of %s only . or %s can be forwarded", domain, domain)
				continue
			}
			if len(up.Servers) > 0 {
				found = true
				r.config.Stubs = append(r.config.Stubs, Stub{Domain: domain, Upstream: up})
			}
		case "hosts":
			r.hosts(d)
			found = true
		case "rewrite":
			r.rewrite(d)
		case "errors", "log", "cache", "loop", "reload", "loadbalance", "health", "ready", "prometheus", "bind":
			// The block of the root sets these for all domains.
		default:
			r.note(d, "this plugin is not understood and has no effect")
		}
	}
	if !found {
		r.note(directive{line: b.line, args: b.args}, "the block has neither forward nor hosts, so its names are resolved like all others")
	}
}

func (r *corefileReader) log(d directive) {
	r.config.Log = "all"
	for _, sub := range d.body {
		if len(sub.args) == 2 && sub.args[0] == "class" && sub.args[1] == "error" {
			r.config.Log = "errors"
		} else if len(sub.args) != 2 || sub.args[0] != "class" || sub.args[1] != "all" {
			r.note(sub, "only class all and class error are understood; every question is logged")
		}
	}
}
