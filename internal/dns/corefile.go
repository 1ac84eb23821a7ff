package dns

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ParseCorefile reads a Corefile as kubeadm writes it, and people extend it:
// forward, stub domains, hosts, cache, log, rewrite, autopath and the settings
// of kubernetes. What has no meaning here, or none that is known, is told in
// notes; an error means that the text is no Corefile.
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

// directive is one line of a Corefile, and the lines in its braces.
type directive struct {
	line int
	args []string // the first is the directive's name, or a server block's names
	body []directive
}

type token struct {
	text  string
	line  int
	brace bool // not quoted
}

// readCorefile takes the text apart.
func readCorefile(text string) ([]directive, error) {
	tokens, err := corefileTokens(text)
	if err != nil {
		return nil, err
	}
	blocks, rest, err := directives(tokens, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("line %d: a } without a {", rest[0].line)
	}
	return blocks, err
}

// maxBlocks bounds how deep braces may lie in each other.
const maxBlocks = 8

func directives(tokens []token, depth int) (out []directive, rest []token, err error) {
	if depth > maxBlocks {
		return nil, nil, fmt.Errorf("line %d: too many braces in each other", tokens[0].line)
	}
	for len(tokens) > 0 {
		if t := tokens[0]; t.brace && t.text == "}" {
			return out, tokens, nil
		}
		d := directive{line: tokens[0].line}
		for len(tokens) > 0 && !tokens[0].brace && (tokens[0].line == d.line || continues(d.args)) {
			d.args = append(d.args, tokens[0].text)
			d.line = tokens[0].line
			tokens = tokens[1:]
		}
		if len(tokens) > 0 && tokens[0].brace && tokens[0].text == "{" && tokens[0].line == d.line {
			open := tokens[0].line
			if len(d.args) == 0 {
				return nil, nil, fmt.Errorf("line %d: a { without a name before it", open)
			}
			if d.body, tokens, err = directives(tokens[1:], depth+1); err != nil {
				return nil, nil, err
			}
			if len(tokens) == 0 {
				return nil, nil, fmt.Errorf("line %d: a { without a }", open)
			}
			tokens = tokens[1:]
		} else if len(tokens) > 0 && tokens[0].brace && tokens[0].text == "{" {
			return nil, nil, fmt.Errorf("line %d: a { on a line of its own", tokens[0].line)
		}
		out = append(out, d)
	}
	return out, nil, nil
}

// continues reports whether a list of server block names goes on in the next line.
func continues(args []string) bool {
	return len(args) > 0 && strings.HasSuffix(args[len(args)-1], ",")
}

func corefileTokens(text string) ([]token, error) {
	var out []token
	line := 1
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '"':
			t := token{line: line}
			i++
			for ; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' && i+1 < len(text) && text[i+1] == '"' {
					i++
				}
				if text[i] == '\n' {
					line++
				}
				t.text += string(text[i])
			}
			if i == len(text) {
				return nil, fmt.Errorf("line %d: a quote that does not end", t.line)
			}
			i++
			out = append(out, t)
		default:
			start := i
			for i < len(text) && !strings.ContainsRune(" \t\r\n", rune(text[i])) {
				i++
			}
			word := text[start:i]
			out = append(out, token{text: word, line: line, brace: word == "{" || word == "}"})
		}
	}
	return out, nil
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
			r.note(b, "snippets are not understood")
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
		// What these ask for is always there, in Minato's own way.
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
			// These are set for everything in the root's block.
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
			r.config.TTL = r.seconds(sub)
		case "fallthrough", "kubeconfig", "endpoint", "tls":
			// Names that are not the cluster's always go on; the API is reached in our own way.
		default:
			r.note(sub, "this setting of kubernetes is not understood")
		}
	}
}

func (r *corefileReader) seconds(d directive) *uint32 {
	if len(d.args) == 2 {
		if n, err := strconv.ParseUint(d.args[1], 10, 32); err == nil {
			v := uint32(n)
			return &v
		}
	}
	r.note(d, "a number of seconds is missing")
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
				r.note(d, "the file %s is left out; only `forward . FILE` alone stands for the node's own resolvers", to)
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
		if n := r.seconds(d); n != nil {
			r.config.MaxConcurrent = int(*n)
		}
	case "prefer_udp", "max_fails", "expire", "health_check", "next", "failfast_all_unhealthy_upstreams":
		// How upstreams are watched and connections kept is decided here.
	default:
		r.note(d, "this setting of forward is not understood")
	}
}

func (r *corefileReader) cache(d directive) {
	c := &r.config.Cache
	if len(d.args) > 1 {
		if n := r.seconds(directive{line: d.line, args: d.args[:2]}); n != nil {
			negative := min(*n, 1800)
			c.MaxTTL, c.MaxNegativeTTL = n, &negative
		}
	}
	for _, sub := range d.body {
		switch sub.args[0] {
		case "success", "denial": // CAPACITY [TTL] [MINTTL]
			if len(sub.args) > 2 {
				n := r.seconds(directive{line: sub.line, args: []string{sub.args[0], sub.args[2]}})
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
			// Failures are never kept, nor are answers about the cluster.
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
			r.note(d, "%s is left out: %v", strings.Join(args, " "), err)
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
			r.config.HostsTTL = r.seconds(sub)
		case "fallthrough", "no_reverse", "reload":
			// A name that is not in the list always goes on.
		default:
			entry(sub.args)
		}
	}
}

func (r *corefileReader) rewrite(d directive) {
	args := d.args[1:]
	if len(args) > 0 && (args[0] == "stop" || args[0] == "continue") {
		if args[0] == "continue" {
			r.note(d, "the first rewrite that fits is the only one, as with stop")
		}
		args = args[1:]
	}
	if len(args) == 0 && len(d.body) > 0 && d.body[0].args[0] == "name" {
		args = d.body[0].args // its answer lines are what is done anyway
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
