package dns

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"minato/internal/dns/zone"
)

// policy is a Config ready for use. It never changes.
type policy struct {
	config   Config
	ttl      uint32
	pods     zone.PodMode
	upstream group
	stubs    []stub // longest domain first
	hosts    map[string][]netip.Addr
	pointers map[netip.Addr][]string
	hostsTTL uint32
	rewrites []rewrite
	cache    cachePolicy
	log      logLevel
	autopath bool
	waiting  int
}

// group is a list of resolvers that are asked for the same names.
type group struct {
	servers []netip.AddrPort // empty for the node's own resolvers
	order   orderPolicy
	except  []string
	tcp     bool
}

type orderPolicy uint8

const (
	ordered orderPolicy = iota
	random
	parallel
)

type stub struct {
	domain string
	group  group
}

type logLevel uint8

const (
	logNone logLevel = iota
	logErrors
	logAll
)

type cachePolicy struct {
	disabled       bool
	maxTTL         uint32
	maxNegativeTTL uint32
	maxBytes       int
	prefetch       bool
	stale          time.Duration
}

type rewrite struct {
	match    string
	from, to string
	pattern  *regexp.Regexp
}

// newPolicy checks c; the error names every field that is wrong.
func newPolicy(c Config, domain string) (*policy, error) {
	var f fieldErrors
	domain = dns.CanonicalName(domain)
	p := &policy{
		config:   c,
		ttl:      f.ttl("ttl", c.TTL, zone.DefaultTTL),
		pods:     f.podMode(c.Pods),
		upstream: f.group("upstream", c.Upstream),
		hostsTTL: f.ttl("hostsTTL", c.HostsTTL, defaultHostsTTL),
		cache:    f.cache(c.Cache),
		log:      logLevel(f.oneOf("log", c.Log, "none", "errors", "all")),
		autopath: c.Autopath,
		waiting:  c.MaxConcurrent,
	}
	if c.TTL != nil && *c.TTL == 0 {
		f.add("ttl", "0 is not possible; use 1 for the shortest lifetime")
	}
	switch {
	case p.waiting == 0:
		p.waiting = defaultMaxConcurrent
	case p.waiting < 0 || p.waiting > 100000:
		f.add("maxConcurrent", "%d is out of range; use 1 to 100000", p.waiting)
	}
	for i, s := range c.Stubs {
		field := "stubs[" + strconv.Itoa(i) + "]"
		p.stubs = append(p.stubs, f.stub(field, s, domain))
	}
	slices.SortStableFunc(p.stubs, func(a, b stub) int { return len(b.domain) - len(a.domain) })
	f.hosts(p, c.Hosts)
	for i, r := range c.Rewrites {
		p.rewrites = append(p.rewrites, f.rewrite("rewrites["+strconv.Itoa(i)+"]", r))
	}
	return p, f.err()
}

func (f *fieldErrors) group(field string, u Upstream) group {
	g := group{
		order: [...]orderPolicy{ordered, random, parallel}[f.oneOf(field+".policy", u.Policy, "ordered", "random", "parallel")],
		tcp:   u.TCP,
	}
	for i, s := range u.Servers {
		g.servers = append(g.servers, f.server(field+".servers["+strconv.Itoa(i)+"]", s))
	}
	for i, d := range u.Except {
		g.except = append(g.except, f.domain(field+".except["+strconv.Itoa(i)+"]", d))
	}
	return g
}

func (f *fieldErrors) stub(field string, s Stub, domain string) stub {
	out := stub{domain: f.domain(field+".domain", s.Domain), group: f.group(field, s.Upstream)}
	switch {
	case len(out.group.servers) == 0:
		f.add(field+".servers", "it is empty; name the resolvers of %s", s.Domain)
	case out.domain == ".":
		f.add(field+".domain", "the root is not a stub domain; set upstream.servers")
	case dns.IsSubDomain(domain, out.domain):
		f.add(field+".domain", "%s is part of the cluster's domain, which is answered here", s.Domain)
	}
	return out
}

func (f *fieldErrors) hosts(p *policy, hosts []Host) {
	p.hosts, p.pointers = map[string][]netip.Addr{}, map[netip.Addr][]string{}
	for i, h := range hosts {
		field := "hosts[" + strconv.Itoa(i) + "]"
		addr, err := netip.ParseAddr(h.IP)
		if err != nil {
			f.add(field+".ip", "%q is not an IP address", h.IP)
			continue
		}
		addr = addr.Unmap()
		if len(h.Names) == 0 {
			f.add(field+".names", "it is empty; give %s at least one name", h.IP)
		}
		for j, n := range h.Names {
			name := f.domain(field+".names["+strconv.Itoa(j)+"]", n)
			p.hosts[name] = append(p.hosts[name], addr)
			p.pointers[addr] = append(p.pointers[addr], name)
		}
	}
}

func (f *fieldErrors) cache(c Cache) cachePolicy {
	p := cachePolicy{
		disabled:       c.Disabled,
		maxTTL:         f.ttl("cache.maxTTL", c.MaxTTL, defaultMaxTTL),
		maxNegativeTTL: f.ttl("cache.maxNegativeTTL", c.MaxNegativeTTL, defaultMaxNegativeTTL),
		maxBytes:       c.MaxBytes,
		prefetch:       !c.NoPrefetch,
		stale:          defaultServeStale,
	}
	switch {
	case p.maxBytes == 0:
		p.maxBytes = defaultMaxBytes
	case p.maxBytes < minMaxBytes || p.maxBytes > maxMaxBytes:
		f.add("cache.maxBytes", "%d is out of range; use %d to %d", c.MaxBytes, minMaxBytes, maxMaxBytes)
	}
	if c.ServeStale != nil {
		p.stale = c.ServeStale.Duration
		if p.stale < 0 || p.stale > 7*24*time.Hour {
			f.add("cache.serveStale", "%s is out of range; use 0s to 168h", p.stale)
		}
	}
	return p
}

func (f *fieldErrors) rewrite(field string, r Rewrite) rewrite {
	out := rewrite{match: r.Match, from: strings.ToLower(r.From), to: strings.ToLower(r.To)}
	if r.From == "" {
		f.add(field+".from", "it is empty; give the name, or the part of it, to replace")
	}
	switch r.Match {
	case "exact":
		out.from, out.to = f.domain(field+".from", r.From), f.domain(field+".to", r.To)
	case "suffix":
		out.from, out.to = dns.Fqdn(out.from), dns.Fqdn(out.to)
	case "prefix", "substring":
	case "regex":
		// Names are matched without their last dot, as people write them.
		pattern, err := regexp.Compile("(?i)" + r.From)
		if err != nil {
			f.add(field+".from", "%q is not a regular expression: %v", r.From, err)
		}
		out.pattern = pattern
	default:
		f.add(field+".match", "%q is not known; use one of exact, prefix, suffix, substring, regex", r.Match)
	}
	return out
}

// apply returns the name to look up instead of name, absolute and lower case.
func (r *rewrite) apply(name string) (string, bool) {
	switch r.match {
	case "exact":
		return r.to, name == r.from
	case "suffix":
		rest, ok := strings.CutSuffix(name, r.from)
		return rest + r.to, ok
	case "prefix":
		rest, ok := strings.CutPrefix(name, r.from)
		return r.to + rest, ok
	case "substring":
		return strings.Replace(name, r.from, r.to, 1), strings.Contains(name, r.from)
	}
	found := r.pattern.FindStringSubmatch(strings.TrimSuffix(name, "."))
	if found == nil {
		if found = r.pattern.FindStringSubmatch(name); found == nil {
			return "", false
		}
	}
	to := r.to
	for i, part := range found {
		to = strings.ReplaceAll(to, "{"+strconv.Itoa(i)+"}", part)
	}
	return to, true
}

// rewritten returns the name to look up instead of name, and whether there is one.
func (p *policy) rewritten(name string) (string, bool) {
	if len(p.rewrites) == 0 {
		return "", false
	}
	name = dns.CanonicalName(name)
	for i := range p.rewrites {
		if to, ok := p.rewrites[i].apply(name); ok {
			to = dns.CanonicalName(to)
			if _, valid := dns.IsDomainName(to); valid && to != name {
				return to, true
			}
			return "", false
		}
	}
	return "", false
}

// plain reports whether answers come from the zone, the cache and upstreams only,
// unchanged and unlogged: then packetLoop may answer at once.
func (p *policy) plain() bool {
	return len(p.rewrites) == 0 && len(p.hosts) == 0 && p.log == logNone && !p.autopath
}

// group finds the resolvers of name, and the stub domain they belong to.
func (p *policy) group(name string) (*group, string) {
	name = dns.CanonicalName(name)
	for i := range p.stubs {
		if dns.IsSubDomain(p.stubs[i].domain, name) && !p.stubs[i].group.excludes(name) {
			return &p.stubs[i].group, p.stubs[i].domain
		}
	}
	if p.upstream.excludes(name) {
		return nil, ""
	}
	return &p.upstream, "."
}

func (g *group) excludes(name string) bool {
	return slices.ContainsFunc(g.except, func(d string) bool { return dns.IsSubDomain(d, name) })
}

// fixed answers from the hosts of the configuration. known reports whether they have the name.
func (p *policy) fixed(q dns.Question) (answer []dns.RR, known bool) {
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: p.hostsTTL}
	if q.Qtype == dns.TypePTR {
		names := p.pointers[reverseAddr(q.Name)]
		for _, n := range names {
			answer = append(answer, &dns.PTR{Hdr: header, Ptr: n})
		}
		return answer, len(names) > 0
	}
	addrs, known := p.hosts[dns.CanonicalName(q.Name)]
	for _, a := range addrs {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			answer = append(answer, &dns.A{Hdr: header, A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			answer = append(answer, &dns.AAAA{Hdr: header, AAAA: a.AsSlice()})
		}
	}
	return answer, known
}

// reverseAddr reads the address in a complete reverse name.
func reverseAddr(name string) netip.Addr {
	labels := dns.SplitDomainName(strings.ToLower(name))
	slices.Reverse(labels)
	var text strings.Builder
	switch {
	case len(labels) == 6 && labels[1] == "in-addr":
		text.WriteString(strings.Join(labels[2:], "."))
	case len(labels) == 34 && labels[1] == "ip6":
		for i, l := range labels[2:] {
			if i > 0 && i%4 == 0 {
				text.WriteByte(':')
			}
			text.WriteString(l)
		}
	}
	addr, _ := netip.ParseAddr(text.String())
	return addr
}
