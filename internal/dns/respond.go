package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"minato/internal/dns/zone"
)

// maxUDPSize bounds answers over UDP even where the client accepts longer ones, so
// that no answer is fragmented on the way.
const maxUDPSize = 1232

// request says who asks a question, and how.
type request struct {
	client  netip.Addr
	overTCP bool
	trace   *trace // collects the reasons; nil if nobody asked for them
}

// respond makes the answer to one message, truncated to the size that the client accepts.
func (s *Server) respond(ctx context.Context, req *dns.Msg, from request) *dns.Msg {
	resp := new(dns.Msg)
	resp.SetReply(req)
	resp.RecursionAvailable = true
	opt := req.IsEdns0()
	var problem *dns.EDNS0_EDE
	if rcode := refusal(req, opt); rcode != dns.RcodeSuccess {
		resp.Rcode = rcode
	} else {
		problem = s.rewrite(ctx, req, resp, from)
	}
	finish(resp, opt, problem, from.overTCP)
	return resp
}

// refusal is the code for a message that is not a question that this server answers.
func refusal(req *dns.Msg, opt *dns.OPT) int {
	switch {
	case req.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case len(req.Question) != 1:
		return dns.RcodeFormatError
	case opt != nil && opt.Version() != 0:
		return dns.RcodeBadVers
	case req.Question[0].Qclass != dns.ClassINET:
		return dns.RcodeRefused
	}
	switch req.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// rewrite looks up another name where the configuration says so. The answer carries
// the name that was asked for: clients ignore an answer to another question.
func (s *Server) rewrite(ctx context.Context, req, resp *dns.Msg, from request) *dns.EDNS0_EDE {
	p := s.cfg.Settings.policy()
	asked := req.Question[0].Name
	name, ok := p.rewritten(asked)
	if !ok {
		return s.answer(ctx, p, req, resp, from)
	}
	from.trace.used("rewrite", "%s is looked up as %s", asked, name)
	inner := req.Copy()
	inner.Question[0].Name = name
	why := s.answer(ctx, p, inner, resp, from)
	for _, rr := range resp.Answer {
		if h := rr.Header(); strings.EqualFold(h.Name, name) {
			h.Name = asked
		}
	}
	return why
}

// answer fills in resp. For a failure it returns the reason, as an extended error (RFC 8914).
func (s *Server) answer(ctx context.Context, p *policy, req, resp *dns.Msg, from request) *dns.EDNS0_EDE {
	q := req.Question[0]
	if records, known := p.fixed(q); known {
		from.trace.used("hosts of the configuration", "the name is one of them")
		resp.Authoritative, resp.Answer = true, records
		return nil
	}
	snap := s.cfg.Source.Snapshot()
	if snap == nil {
		if s.couldBeOurs(q.Name) {
			resp.Rcode = dns.RcodeServerFailure
			from.trace.dropped("zone "+s.domain, "the cluster's names are not loaded yet")
			return problem(dns.ExtendedErrorCodeNotReady, "the cluster's names are not loaded yet")
		}
		return s.forward(ctx, req, resp, from)
	}
	a, ours := from.trace.lookup(snap, zone.Question{Name: q.Name, Type: q.Qtype})
	if !ours {
		return s.forward(ctx, req, resp, from)
	}
	resp.Authoritative = true
	resp.Rcode, resp.Answer, resp.Ns, resp.Extra = a.Rcode, a.Answer, a.Ns, a.Extra
	if a.Target != "" {
		return s.chase(ctx, req, resp, a.Target, from)
	}
	if p.autopath && a.Rcode == dns.RcodeNameError {
		s.autopath(ctx, snap, req, resp, from)
	}
	shuffle(resp.Answer)
	return nil
}

// couldBeOurs reports whether name may be the zone's, which is certain only once the zone is loaded.
func (s *Server) couldBeOurs(name string) bool {
	name = dns.CanonicalName(name)
	return dns.IsSubDomain(s.domain, name) ||
		dns.IsSubDomain("in-addr.arpa.", name) || dns.IsSubDomain("ip6.arpa.", name)
}

// autopath looks up the rest of the search path for a Pod that asked for the first
// name of it and would ask one question for each of the others. It does nothing unless
// the first name ends in the Pod's own namespace, nor if a look-up on the way fails.
func (s *Server) autopath(ctx context.Context, snap *zone.Snapshot, req, resp *dns.Msg, from request) {
	q := req.Question[0]
	first, ok := firstOfSearchPath(snap, q, from.client)
	if !ok {
		return
	}
	for _, domain := range append([]string{"svc." + s.domain, s.domain}, append(s.cfg.Search(), "")...) {
		target := dns.Fqdn(first + domain)
		inner := &dns.Msg{MsgHdr: req.MsgHdr, Question: []dns.Question{{Name: target, Qtype: q.Qtype, Qclass: q.Qclass}}, Extra: req.Extra}
		found := new(dns.Msg)
		a, ours := snap.Lookup(zone.Question{Name: target, Type: q.Qtype})
		switch {
		case ours && a.Target == "":
			found.Rcode, found.Answer = a.Rcode, a.Answer
		case ours:
			return // an alias that leads out of the zone: the Pod asks for it itself
		case s.forward(ctx, inner, found, request{}) != nil:
			return
		}
		switch found.Rcode {
		case dns.RcodeNameError:
			continue
		case dns.RcodeSuccess:
			from.trace.used("autopath", "the first name of the search path that exists is %s", target)
			alias := &dns.CNAME{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: s.cfg.Settings.policy().ttl}, Target: target}
			resp.Rcode, resp.Ns, resp.Extra = dns.RcodeSuccess, nil, nil
			resp.Answer = append([]dns.RR{alias}, found.Answer...)
		}
		return
	}
}

// firstOfSearchPath returns the name that a Pod's program asked for, with a dot, if
// q is the first question that the Pod's resolver makes of it.
func firstOfSearchPath(snap *zone.Snapshot, q dns.Question, client netip.Addr) (string, bool) {
	if q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA {
		return "", false
	}
	namespaces := snap.Namespaces(client)
	if len(namespaces) != 1 { // no Pod has the address, or Pods share their node's
		return "", false
	}
	name := dns.CanonicalName(q.Name)
	return strings.CutSuffix(name, namespaces[0]+".svc."+snap.Domain())
}

// forward fills in resp with the answer of an upstream.
func (s *Server) forward(ctx context.Context, req, resp *dns.Msg, from request) *dns.EDNS0_EDE {
	if s.forwarder.looped(req.Question[0]) {
		resp.Rcode = dns.RcodeRefused
		return problem(dns.ExtendedErrorCodeOther, "an upstream resolver sent this question back to the server that asked it")
	}
	up, err := s.forwarder.exchange(ctx, req, req.Question[0].Name, from.trace)
	if err != nil {
		return s.forwardFailed(resp, req.Question[0].Name, err, from)
	}
	resp.Rcode = up.Rcode
	resp.Authoritative = false
	resp.AuthenticatedData = up.AuthenticatedData && wantsAuthentication(req)
	resp.Truncated = up.Truncated
	resp.Answer, resp.Ns, resp.Extra = up.Answer, up.Ns, withoutOPT(up.Extra)
	return nil
}

// wantsAuthentication reports whether the client knows of the AD bit.
func wantsAuthentication(req *dns.Msg) bool {
	opt := req.IsEdns0()
	return req.AuthenticatedData || opt != nil && opt.Do()
}

// chase resolves target, the name outside the zone that an ExternalName Service stands for, and adds the answer.
func (s *Server) chase(ctx context.Context, req, resp *dns.Msg, target string, from request) *dns.EDNS0_EDE {
	up, err := s.forwarder.exchange(ctx, req, target, from.trace)
	if err != nil {
		return s.forwardFailed(resp, target, err, from)
	}
	resp.Rcode = up.Rcode
	resp.Truncated = up.Truncated
	resp.Answer = append(resp.Answer, up.Answer...)
	resp.Ns = append(resp.Ns, up.Ns...)
	return nil
}

func (s *Server) forwardFailed(resp *dns.Msg, name string, err error, from request) *dns.EDNS0_EDE {
	s.cfg.Logger.Debug("A DNS question was not answered by any upstream resolver", "name", name, "error", err)
	from.trace.dropped("upstreams", "%v", err)
	if errors.Is(err, errNoUpstream) {
		resp.Rcode = dns.RcodeRefused
		return problem(dns.ExtendedErrorCodeOther, "no upstream resolver is configured for names outside the cluster")
	}
	resp.Rcode = dns.RcodeServerFailure
	return problem(dns.ExtendedErrorCodeNoReachableAuthority, "no upstream resolver answered")
}

// problem makes an extended error (RFC 8914), which clients that use EDNS are told.
func problem(code uint16, text string) *dns.EDNS0_EDE {
	return &dns.EDNS0_EDE{InfoCode: code, ExtraText: text}
}

func withoutOPT(rrs []dns.RR) []dns.RR {
	out := rrs[:0]
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, rr)
		}
	}
	return out
}

// finish adds the OPT record and truncates the message to the size that the client accepts.
func finish(resp *dns.Msg, opt *dns.OPT, why *dns.EDNS0_EDE, overTCP bool) {
	size := dns.MinMsgSize
	if opt != nil {
		size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDPSize)
		reply := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		reply.SetUDPSize(maxUDPSize)
		if opt.Do() {
			reply.SetDo()
		}
		if why != nil {
			reply.Option = append(reply.Option, why)
		}
		resp.Extra = append(resp.Extra, reply)
	} else if resp.Rcode > 0xF {
		resp.Rcode = dns.RcodeServerFailure // the longer codes need an OPT record
	}
	if overTCP {
		size = dns.MaxMsgSize
	}
	fit(resp, size)
}

// fit shortens a message to size. It removes additional records first, without which
// the answer is still complete, and answers last, with the truncation bit set.
func fit(resp *dns.Msg, size int) {
	resp.Compress = false
	fits := resp.Len() <= size // without compression: the cheap check, and mostly enough
	resp.Compress = true
	if fits || resp.Len() <= size {
		return
	}
	var opt []dns.RR
	for _, rr := range resp.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			opt = append(opt, rr)
		}
	}
	resp.Extra = opt
	if resp.Len() > size {
		resp.Truncate(size)
	}
}

// shuffle changes the order of the addresses, which come after any aliases, so
// that clients that take the first one are spread over all of them.
func shuffle(rrs []dns.RR) {
	start := 0
	for start < len(rrs) && !isAddress(rrs[start]) {
		start++
	}
	run := rrs[start:]
	if len(run) > 1 {
		rand.Shuffle(len(run), func(i, j int) { run[i], run[j] = run[j], run[i] })
	}
}

func isAddress(rr dns.RR) bool {
	t := rr.Header().Rrtype
	return t == dns.TypeA || t == dns.TypeAAAA
}
