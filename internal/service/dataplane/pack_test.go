package dataplane

import (
	"net/netip"
	"reflect"
	"testing"

	"minato/internal/service/route"
)

// TestPackLosesNothing packs a Service that has one of everything.
func TestPackLosesNothing(t *testing.T) {
	v4b := back("10.244.1.2:8080", "10.244.2.2:65535")
	v6b := back("[fd00:244:1::2]:53", "[fd00:244:2::2]:1")
	v4b[0].Local, v6b[1].Local = true, true
	http := &servicePort{id: 1 << 20, generation: 3, cluster: v4b, local: v4b[:1], draining: back("10.244.3.2:8080"), sticky: true}
	dns := &servicePort{id: 2, generation: 4_000_000_000, cluster: v6b, consistent: [2]bool{true, false}}
	none := &servicePort{id: 7, generation: 8, consistent: [2]bool{false, true}}
	s := &service{
		ports: few[portKey, *servicePort]{
			{portKey{Name: "http", Proto: protoTCP}, http}, {portKey{Name: "dns", Proto: protoUDP, IPv6: true}, dns}, {portKey{Proto: protoUDP}, none},
		},
		entries: few[frontendKey, frontend]{
			{frontendKey{Addr: addressOf(ip("10.96.0.1")), Port: portOf(80), Proto: protoTCP, Scope: outside},
				http.numbered(frontendKey{Proto: protoTCP}, frontend{Count: 2, Affinity: 10800, Flags: flagMasquerade | flagRestricted})},
			{frontendKey{Addr: addressOf(ip("fd00:96::1")), Port: portOf(53), Proto: protoUDP},
				dns.numbered(frontendKey{Proto: protoUDP}, frontend{Count: 131071, Set: uint8(route.LocalSet), Flags: flagConsistent})},
			{frontendKey{Addr: anyNode(false), Port: portOf(32767), Proto: protoUDP},
				none.numbered(frontendKey{Proto: protoUDP}, frontend{Verdict: uint8(route.Drop)})},
			{frontendKey{Addr: anyNode(true), Port: portOf(30000), Proto: protoUDP},
				none.numbered(frontendKey{Proto: protoUDP}, frontend{Verdict: uint8(route.Reject)})},
			{frontendKey{Addr: addressOf(ip("10.96.0.1"))}, frontend{Verdict: uint8(route.Reject)}},
		},
		ranges: map[sourceRange]bool{
			sourceRangeOf(1<<20, netip.MustParsePrefix("10.0.0.0/8")): true, sourceRangeOf(2, netip.MustParsePrefix("::/0")): true,
		},
	}
	if got := unpackService(s.pack()); !reflect.DeepEqual(got, s) {
		t.Errorf("%+v became %+v", s, got)
	}
	for _, empty := range []*service{unpackService(""), unpackService((&service{}).pack())} {
		if len(empty.ports)+len(empty.entries)+len(empty.ranges) != 0 {
			t.Errorf("nothing became %+v", empty)
		}
	}
}

// TestServes changes one thing at a time.
func TestServes(t *testing.T) {
	k := newFakeKernel(t)
	r := k.reconciler()
	f := loadBalancer("a", "192.0.2.1", 80, "TCP", back("10.244.1.2:8080", "10.244.2.2:8080"), "172.30.0.0/16")
	if err := r.apply(desiredOf(f)); err != nil {
		t.Fatal(err)
	}
	if !r.holds(f.Service, []route.Frontend{f}) || r.holds(f.Service, nil) {
		t.Error("it holds not what was applied, or also nothing")
	}
	for what, change := range map[string]func(*route.Frontend){
		"address":  func(f *route.Frontend) { f.Addr = ip("192.0.2.2") },
		"port":     func(f *route.Frontend) { f.Port = 81 },
		"name":     func(f *route.Frontend) { f.PortName = "other" },
		"backends": func(f *route.Frontend) { f.Cluster = f.Cluster[1:] },
		"place": func(f *route.Frontend) {
			f.Cluster = back("10.244.1.2:8080", "10.244.2.2:8080")
			f.Cluster[0].Local = !f.Cluster[0].Local
		},
		"draining": func(f *route.Frontend) { f.Draining = back("10.244.3.2:8080") },
		"affinity": func(f *route.Frontend) { f.Affinity = 1e9 },
		"ranges":   func(f *route.Frontend) { f.SourceRanges = nil },
		"verdict":  func(f *route.Frontend) { f.Decisions[route.FromPod].Verdict = route.Drop },
		"kind":     func(f *route.Frontend) { f.Kind = route.ClusterIP }, // which marks the address
	} {
		other := f
		change(&other)
		if r.holds(f.Service, []route.Frontend{other}) {
			t.Errorf("it holds another %s", what)
		}
	}
	second := f
	second.Addr = ip("192.0.2.2")
	if r.holds(f.Service, []route.Frontend{f, second}) {
		t.Error("it holds one more frontend")
	}
	// Another Service that wants the same has it as far as it can.
	b := f
	b.Service.Name = "b"
	if err := r.apply(desiredOf(b)); err != nil {
		t.Fatal(err)
	}
	if !r.holds(b.Service, []route.Frontend{b}) || r.holds(b.Service, []route.Frontend{second}) {
		t.Error("who lost a frontend holds not what it wants, or also another")
	}
	k.failEvery = 1
	if r.apply(desiredOf(second)) == nil || r.holds(second.Service, []route.Frontend{second}) {
		t.Error("it holds what the kernel refused")
	}
}
