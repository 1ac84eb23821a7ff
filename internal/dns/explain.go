package dns

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"minato/internal/dns/zone"
)

// trace collects the reasons for an answer; a nil trace collects nothing.
type trace struct{ reasons []zone.Reason }

func (t *trace) used(subject, format string, args ...any) {
	if t != nil {
		t.reasons = append(t.reasons, zone.Reason{Subject: subject, Used: true, Why: fmt.Sprintf(format, args...)})
	}
}

func (t *trace) dropped(subject, format string, args ...any) {
	if t != nil {
		t.reasons = append(t.reasons, zone.Reason{Subject: subject, Why: fmt.Sprintf(format, args...)})
	}
}

func (t *trace) lookup(snap *zone.Snapshot, q zone.Question) (zone.Answer, bool) {
	if t == nil {
		return snap.Lookup(q)
	}
	a, ours := snap.Explain(q)
	t.reasons = append(t.reasons, a.Reasons...)
	return a, ours
}

// Explanation is one question, its answer and the reasons for it.
type Explanation struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Rcode   string   `json:"rcode"`
	Answer  []string `json:"answer,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

// Found reports whether a resolver would stop here and take the answer.
func (e Explanation) Found() bool { return e.Rcode == "NOERROR" && len(e.Answer) > 0 }

// Explain answers a question as if client had asked it, with the reasons. The same
// code answers questions that come from a socket.
func (s *Server) Explain(ctx context.Context, name string, qtype uint16, client netip.Addr) Explanation {
	req := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	t := &trace{}
	resp := s.respond(ctx, req, request{client: client, overTCP: true, trace: t})
	e := Explanation{Name: req.Question[0].Name, Type: dns.Type(qtype).String(), Rcode: dns.RcodeToString[resp.Rcode]}
	for _, rr := range resp.Answer {
		e.Answer = append(e.Answer, strings.Join(strings.Fields(rr.String()), " "))
	}
	for _, r := range t.reasons {
		e.Reasons = append(e.Reasons, r.String())
	}
	return e
}

// ExplainSearch does what a resolver with a search path does for name: it asks for
// one absolute name after the other, until one is found.
func (s *Server) ExplainSearch(ctx context.Context, name string, qtype uint16, client netip.Addr, path SearchPath) []Explanation {
	var out []Explanation
	for _, n := range path.Names(name) {
		e := s.Explain(ctx, n, qtype, client)
		out = append(out, e)
		if e.Found() || ctx.Err() != nil {
			break
		}
	}
	return out
}

// SearchPath is how a client's resolver makes names absolute.
type SearchPath struct {
	Domains []string `json:"search"`
	Ndots   int      `json:"ndots"`
}

// Names lists the names a resolver asks for, in its order.
func (p SearchPath) Names(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var out []string
	for _, d := range p.Domains {
		out = append(out, dns.Fqdn(name+"."+strings.TrimSuffix(d, ".")))
	}
	if strings.Count(name, ".") >= p.Ndots {
		return append([]string{name + "."}, out...)
	}
	return append(out, name+".")
}
