package pool

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

var (
	v4Only   = []corev1.IPFamily{corev1.IPv4Protocol}
	v6Only   = []corev1.IPFamily{corev1.IPv6Protocol}
	v4First  = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	v6First  = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	epoch    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	prefer   = policy(corev1.IPFamilyPolicyPreferDualStack)
	require  = policy(corev1.IPFamilyPolicyRequireDualStack)
	selector = labels.SelectorFromSet
)

// pool makes a pool with autoAssign of ranges such as 10.0.0.1-10.0.0.4 or single addresses.
func pool(name string, ranges string, change ...func(*config.Pool)) config.Pool {
	p := config.Pool{Name: name, AutoAssign: true}
	for r := range strings.FieldsSeq(ranges) {
		first, last, found := strings.Cut(r, "-")
		if !found {
			last = first
		}
		p.Ranges = append(p.Ranges, config.Range{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)})
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

func manual(p *config.Pool)   { p.AutoAssign = false }
func own(p *config.Pool)      { p.Default = true }
func avoiding(p *config.Pool) { p.AvoidBuggyIPs = true }

func allocation(a config.Allocation) func(*config.Pool) {
	return func(p *config.Pool) { p.Allocation = &a }
}

// svc makes a Service of namespace ns with TCP port 80, IPv4. The letter of its name is its age.
func svc(name string, change ...func(*Service)) Service {
	s := Service{
		Key: types.NamespacedName{Namespace: "ns", Name: name}, Created: epoch.Add(time.Duration(name[0]) * time.Second),
		Families: v4Only, Policy: corev1.IPFamilyPolicySingleStack, Ports: []Port{{corev1.ProtocolTCP, 80}},
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func ofFamilies(f []corev1.IPFamily) func(*Service) { return func(s *Service) { s.Families = f } }
func policy(p corev1.IPFamilyPolicy) func(*Service) { return func(s *Service) { s.Policy = p } }
func asks(a string) func(*Service)                  { return func(s *Service) { s.Requested = addrs(a) } }
func asksPool(name string) func(*Service)           { return func(s *Service) { s.RequestedPool = name } }
func has(a string) func(*Service)                   { return func(s *Service) { s.Current = addrs(a) } }
func share(key string) func(*Service)               { return func(s *Service) { s.SharingKey = key } }
func port(p uint16) func(*Service) {
	return func(s *Service) { s.Ports = []Port{{corev1.ProtocolTCP, p}} }
}
func in(namespace string) func(*Service)  { return func(s *Service) { s.Key.Namespace = namespace } }
func labelled(k, v string) func(*Service) { return func(s *Service) { s.Labels = labels.Set{k: v} } }
func invalid(text string) func(*Service)  { return func(s *Service) { s.Invalid = text } }
func created(n int) func(*Service) {
	return func(s *Service) { s.Created = epoch.Add(time.Duration(n) * time.Second) }
}

func local(app string) func(*Service) {
	return func(s *Service) { s.Local, s.Selector = true, labels.Set{"app": app} }
}
func nsLabelled(k, v string) func(*Service) {
	return func(s *Service) { s.NamespaceLabels = labels.Set{k: v} }
}

func dual(p func(*Service)) func(*Service) {
	return func(s *Service) { s.Families = v4First; p(s) }
}

func addrs(text string) []netip.Addr {
	var out []netip.Addr
	for f := range strings.FieldsSeq(text) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

func list(a []netip.Addr) string {
	var out []string
	for _, x := range a {
		out = append(out, x.String())
	}
	return strings.Join(out, " ")
}

// want is what is expected of a decision; texts that are empty must be empty.
type want struct {
	addrs, pool, message, cleared, pending string
	reason                                 Reason
	cause                                  Cause
}

func got(d Decision) want {
	return want{list(d.Addresses), d.Pool, d.Message, d.Cleared, d.PendingMessage, d.Reason, d.Cause}
}

func allocated(pool, addresses string) want {
	return want{addrs: addresses, pool: pool, reason: Allocated, message: `Assigned IP ["` + strings.ReplaceAll(addresses, " ", `" "`) + `"]`}
}

func kept(pool, addresses string) want { return want{addrs: addresses, pool: pool, reason: Kept} }

func failed(name string, cause Cause, text string) want {
	return want{reason: Failed, cause: cause, message: `Failed to allocate IP for "ns/` + name + `": ` + text}
}

func (w want) clearing(name, text string) want {
	w.cleared = `current IP for "ns/` + name + `" not allowed by config, will attempt for new IP assignment: ` + text
	return w
}

func (w want) lacking(text string) want {
	w.pending = "cannot assign additional IP in PreferDualStack: " + text
	return w
}

// check compares the decisions with what is wanted of each Service, and sees that the explanations agree with them.
func check(t *testing.T, pools []config.Pool, services []Service, wants map[string]want) map[types.NamespacedName]Decision {
	t.Helper()
	decisions := Allocate(pools, services)
	if len(decisions) != len(services) {
		t.Errorf("%d decisions for %d Services", len(decisions), len(services))
	}
	for _, s := range services {
		d := decisions[s.Key]
		if w, ok := wants[s.Key.Name]; !ok {
			t.Errorf("nothing is said of %s, which gets %+v", s.name(), got(d))
		} else if g := got(d); g != w {
			t.Errorf("%s:\n got %+v\nwant %+v\n%s", s.name(), g, w, strings.Join(d.Why, "\n"))
		}
		explained(t, s, d)
	}
	return decisions
}

// explained sees that the explanation of a decision agrees with it.
func explained(t *testing.T, s Service, d Decision) {
	t.Helper()
	why := strings.Join(d.Why, "\n")
	for _, a := range d.Addresses {
		var about []string
		for _, line := range d.Why {
			if strings.Contains(line, a.String()+" ") {
				about = append(about, line)
			}
		}
		text := strings.Join(about, "\n")
		if !strings.Contains(text, `pool "`+d.Pool+`"`) {
			t.Errorf("%s has %s of pool %q, but the explanation says %q of it:\n%s", s.name(), a, d.Pool, text, why)
		}
		isKept := slices.Contains(s.Current, a)
		if saysKept := strings.Contains(text, "It has ") || strings.Contains(text, "had before"); isKept != saysKept && !slices.Contains(s.Requested, a) {
			t.Errorf("%s: %s kept %t, but the explanation says %q", s.name(), a, isKept, text)
		}
	}
	switch {
	case len(d.Addresses) == 0:
		_, text, _ := strings.Cut(d.Message, `": `)
		if d.Help == "" || text == "" || d.Why[len(d.Why)-1] != "It gets no address: "+text+"." {
			t.Errorf("%s gets nothing with message %q and help %q, but the explanation is\n%s", s.name(), d.Message, d.Help, why)
		}
	case strings.Contains(why, "It gets no address"):
		t.Errorf("%s has %v, but the explanation says that it has none", s.name(), d.Addresses)
	}
	if d.PendingFamily != "" && !strings.Contains(why, `Pool "`+d.Pool+`" has no `+string(d.PendingFamily)) {
		t.Errorf("%s lacks %s, which isn't explained:\n%s", s.name(), d.PendingFamily, why)
	}
	if d.Cleared != "" && !strings.Contains(why, "It can't keep") && !strings.Contains(why, "it gives up what it has") {
		t.Errorf("%s loses an address, which isn't explained:\n%s", s.name(), why)
	}
	if strings.HasSuffix(d.Cleared, ": ") {
		t.Errorf("%s loses an address for no reason", s.name())
	}
}
