package loadbalancer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"minato/internal/loadbalancer/config"
)

const assignedToNode1 = `Normal/metallb-speaker/nodeAssigned/announcing from node "node-1" with protocol "layer2"`

func TestNodeAssignedIsToldOnChangeOnly(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	addr := addressFor(0, []string{"node-1"}, threeNodes...)
	s.set("web", addr, threeNodes)
	s.must(s.all())
	s.wantEvents("web", assignedToNode1)
	for range 10 {
		s.set("web", addr, []string{"node-1", "node-2"})
		s.must(s.changed())
		s.must(s.all())
	}
	s.wantEvents("web", assignedToNode1)
	s.list[0].Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""}
	s.must(s.all())
	s.list[0].Labels = nil
	s.must(s.all())
	s.wantEvents("web", assignedToNode1, assignedToNode1)
	// Another Service of the same name was not told of.
	s.remove("web")
	s.set("web", addr, threeNodes, func(s *corev1.Service) {})
	s.objects.services[key("web")].UID = "other"
	s.must(s.changed())
	s.wantEvents("web", assignedToNode1, assignedToNode1, assignedToNode1)
}

// The next process finds what this one announces, and tells of what is new alone.
func TestNodeAssignedIsNotRepeatedAfterARestart(t *testing.T) {
	s := newStage(t, "node-1", "node-1")
	s.uplinks.pins = t.TempDir()
	s.announcer.adopted = []netip.Addr{netip.MustParseAddr("172.30.200.1")}
	s.set("old", "172.30.200.1", []string{"node-1"})
	s.set("new", "172.30.200.2", []string{"node-1"})
	s.begin()
	s.must(s.all())
	s.wantEvents("old")
	s.wantEvents("new", assignedToNode1)
	if s.reports.names() != "node-1/new node-1/old" || !s.reports.done {
		t.Errorf("reports %q, all told %v", s.reports.names(), s.reports.done)
	}
	// Afterwards it counts as any other.
	s.set("old", "172.30.200.1", nil)
	s.must(s.changed())
	s.set("old", "172.30.200.1", []string{"node-1"})
	s.must(s.changed())
	s.wantEvents("old", assignedToNode1)
}

func TestAnnounceFailed(t *testing.T) {
	s := newStage(t, "node-1", "node-1", "node-2")
	s.cfg.Pools = []config.Pool{{Name: "own", Ranges: defaultPoolOfTests.Ranges}}
	on := func(names ...string) []config.L2Advertisement {
		l, _ := labels.Parse("name=node-1")
		return []config.L2Advertisement{{Name: "a", Pools: []string{"own"}, Interfaces: names, NodeSelectors: []labels.Selector{l}}}
	}
	s.cfg.L2 = on("eth5", "eth6")
	s.set("web", "172.30.200.1", []string{"node-1"})
	s.must(s.all())
	s.must(s.all())
	s.wants("web", "172.30.200.1>node-1")
	failed := `Warning/metallb-speaker/announceFailed/172.30.200.1 is not announced: node "node-1" is to announce it at eth5 or eth6, which is not among its uplinks, eth0;`
	s.wantEvents("web", failed)
	if s.reports.names() != "" {
		t.Errorf("reports %q", s.reports.names())
	}
	s.cfg.L2 = on("eth5", "eth0")
	s.must(s.all())
	s.wantEvents("web", failed, assignedToNode1)
	if got := s.reports.wants["node-1/web"].fields["interfaces"].([]any); len(got) != 2 {
		t.Errorf("interfaces %v", got)
	}
	s.cfg.L2 = on("eth7")
	s.must(s.all())
	s.wantEvents("web", failed, assignedToNode1, "at eth7, which")
	// A node that isn't to announce has nothing to tell.
	other := newStage(t, "node-2", "node-1", "node-2")
	other.cfg = s.cfg
	other.set("web", "172.30.200.1", []string{"node-1"})
	other.must(other.all())
	other.wantEvents("web")
}

// An address that nobody announces is told of, with the reason, once that lasts; by one node.
func TestSilenceIsTold(t *testing.T) {
	const none = "Warning/metallb-speaker/notAnnounced/172.30.200.1: Nobody announces the address, because the Service has no endpoint"
	s := newStage(t, "node-1", threeNodes...)
	s.set("web", "172.30.200.1", nil)
	s.must(s.all())
	s.wantEvents("web")
	began := s.clock
	s.clock = s.clock.Add(3 * time.Second)
	s.set("later", "172.30.200.2", nil)
	s.must(s.changed())
	s.passTo()
	if got := s.clock.Sub(began); got != silentFor {
		t.Errorf("told after %v", got)
	}
	s.must(s.changed())
	s.wantEvents("web", none)
	s.wantEvents("later")
	s.passTo()
	if got := s.clock.Sub(began); got != silentFor+3*time.Second {
		t.Errorf("the other one is told after %v", got)
	}
	s.must(s.changed())
	s.wantEvents("later", "172.30.200.2: Nobody")
	s.must(s.all())
	s.wantEvents("web", none)
	if !s.later().IsZero() {
		t.Error("something is due")
	}
	// It is told again after it was announced, and with another reason.
	s.set("web", "172.30.200.1", threeNodes)
	s.must(s.changed())
	s.events.forget()
	s.set("web", "172.30.200.1", nil)
	s.must(s.changed())
	s.passTo()
	s.must(s.changed())
	s.wantEvents("web", none)
	s.set("web", "172.30.200.1", threeNodes)
	for _, n := range s.list {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
	}
	s.must(s.all())
	s.passTo()
	s.must(s.changed())
	s.wantEvents("web", none, "its condition NetworkUnavailable is True")
}

func TestSilenceIsToldByOneNode(t *testing.T) {
	told := map[string]int{}
	for _, self := range threeNodes {
		s := newStage(t, self, threeNodes...)
		s.hears("node-2", "node-3")
		if self == "node-1" {
			s.hears()
			s.view.Self = false
			s.view.Peers["node-3"] = true
		}
		s.set("web", "172.30.200.1", nil)
		s.must(s.all())
		s.passTo()
		s.must(s.changed())
		told[self] = len(s.events.about("web"))
	}
	if told["node-1"] != 0 || told["node-2"] != 1 || told["node-3"] != 0 {
		t.Errorf("events %v", told)
	}
}

// A Service that has endpoints in time makes no event, nor does one whose address routers are told of.
func TestNoSilenceWithoutNeed(t *testing.T) {
	s := newStage(t, "node-1", "node-1")
	s.set("web", "172.30.200.1", nil)
	s.must(s.all())
	s.set("web", "172.30.200.1", []string{"node-1"})
	s.must(s.changed())
	s.clock = s.clock.Add(time.Minute)
	s.must(s.all())
	s.wantEvents("web", assignedToNode1)

	s = newStage(t, "node-1", "node-1")
	s.cfg.Pools = []config.Pool{{Name: "own", Ranges: defaultPoolOfTests.Ranges}}
	s.cfg.BGP, s.cfg.Peers = []config.BGPAdvertisement{{Name: "a", Pools: []string{"own"}}}, []config.Peer{{Name: "router"}}
	s.set("web", "172.30.200.1", []string{"node-1"})
	s.must(s.all())
	if !s.later().IsZero() {
		t.Error("silence although routers are told of the address")
	}
	s.cfg.BGP = nil
	s.must(s.all())
	s.passTo()
	s.must(s.changed())
	s.wantEvents("web", "no L2Advertisement is for pool own; create one")
}

func TestReportsFollowTheAnnouncements(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	mine, theirs := addressFor(0, []string{"node-1"}, threeNodes...), addressFor(0, []string{"node-2", "node-1"}, threeNodes...)
	s.set("mine", mine, threeNodes)
	s.set("theirs", theirs, threeNodes)
	s.must(s.all())
	if s.reports.names() != "node-1/mine" {
		t.Errorf("reports %q", s.reports.names())
	}
	r := s.reports.wants["node-1/mine"]
	if r.owner != "uid-node-1" || len(r.fields["interfaces"].([]any)) != 0 {
		t.Errorf("report %+v", r)
	}
	calls := s.reports.calls
	s.must(s.all())
	if s.reports.calls != calls {
		t.Error("a report is told again although nothing changed")
	}
	// A Node that registered anew is another owner: with the old one the object would be deleted again and again.
	s.list[0].UID = "another"
	s.must(s.all())
	if got := s.reports.wants["node-1/mine"].owner; got != "another" {
		t.Errorf("owner %s", got)
	}
	s.hears("node-3")
	s.must(s.all())
	if s.reports.names() != "node-1/mine node-1/theirs" || s.reports.wants["node-1/theirs"].alive["node-2"] {
		t.Errorf("reports %q", s.reports.names())
	}
	s.hears("node-2", "node-3")
	s.must(s.all())
	if s.reports.names() != "node-1/mine" {
		t.Errorf("reports %q", s.reports.names())
	}
}

// Two addresses of one Service make one event, and one report.
func TestDualStack(t *testing.T) {
	s := newStage(t, "node-1", "node-1", "node-2")
	v4 := addressFor(0, []string{"node-1"}, "node-1", "node-2")
	s.cfg.Pools[0].Ranges = append(slices.Clone(s.cfg.Pools[0].Ranges), config.Range{First: netip.MustParseAddr("fd00::1"), Last: netip.MustParseAddr("fd00::ff")})
	s.set("web", v4+" fd00::7", []string{"node-1"})
	s.must(s.all())
	s.wants("web", v4+"!>node-1 fd00::7!>node-1")
	s.wantEvents("web", assignedToNode1)
	s.set("web", v4+" fd00::7", nil)
	s.must(s.changed())
	s.passTo()
	s.must(s.changed())
	if got := s.events.about("web"); len(got) != 2 || !strings.Contains(got[1], v4+", fd00::7: Nobody") || strings.Count(got[1], "Nobody") != 1 {
		t.Errorf("events %q", got)
	}
}
