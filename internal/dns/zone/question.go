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

// Answer is the answer to a Question. Its records belong to the caller, who may change them.
type Answer struct {
	Rcode  int
	Answer []dns.RR
	Ns     []dns.RR // the SOA record of a negative answer
	Extra  []dns.RR
	// Target, if not empty, is the name outside the zone that an ExternalName
	// Service stands for: the caller resolves it and adds the answer to this one.
	Target string
	// Reasons is filled in by Explain only.
	Reasons []Reason
}

// Reason says why an object was used for an answer, or why it was not.
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

// trace collects reasons. It is nil where none are wanted: callers check that before they spend time on a text.
type trace struct{ reasons []Reason }

func (t *trace) used(subject, format string, args ...any) {
	t.reasons = append(t.reasons, Reason{Subject: subject, Used: true, Why: fmt.Sprintf(format, args...)})
}

func (t *trace) dropped(subject, format string, args ...any) {
	t.reasons = append(t.reasons, Reason{Subject: subject, Why: fmt.Sprintf(format, args...)})
}
