package zone

import (
	"fmt"

	"github.com/miekg/dns"
)

// Question is what is asked. Name is absolute, in presentation format.
type Question struct {
	Name string
	Type uint16
}

func (q Question) String() string {
	t, ok := dns.TypeToString[q.Type]
	if !ok {
		t = fmt.Sprintf("TYPE%d", q.Type)
	}
	return q.Name + " " + t
}

// Answer is what a Question answers. Its records are the reader's own.
type Answer struct {
	Rcode  int
	Answer []dns.RR
	Ns     []dns.RR // the SOA record of a negative answer
	Extra  []dns.RR
	// Target is the name an alias left the zone with: whoever asked for an
	// address still has to resolve it elsewhere. Empty when nothing is left to do.
	Target string
	// Reasons is filled in by Explain only.
	Reasons []Reason
}

// Reason says what one object had to do with an answer.
type Reason struct {
	Subject string // e.g. "Service default/web"
	Used    bool
	Why     string
}

func (r Reason) String() string {
	if r.Used {
		return r.Subject + ": used, " + r.Why
	}
	return r.Subject + ": not used, " + r.Why
}

// trace collects reasons; a nil trace collects nothing, at no cost.
type trace struct{ reasons []Reason }

func (t *trace) used(subject, format string, args ...any) {
	t.reasons = append(t.reasons, Reason{Subject: subject, Used: true, Why: fmt.Sprintf(format, args...)})
}

func (t *trace) dropped(subject, format string, args ...any) {
	t.reasons = append(t.reasons, Reason{Subject: subject, Why: fmt.Sprintf(format, args...)})
}
