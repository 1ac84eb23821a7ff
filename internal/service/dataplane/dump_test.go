package dataplane

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"minato/internal/service/route"
)

var update = flag.Bool("update", false, "write what is dumped to testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// everyKind is a dump with an entry of each kind, in the order in which a kernel may hand them out.
func everyKind() *Dump {
	slots := map[slotKey]slot{
		{Service: 1, Generation: 4, Index: 0}:         {Backend: 1, Service: 1},
		{Service: 1, Generation: 4, Index: 1}:         {Backend: 2, Service: 1},
		{Service: 1, Generation: 4, Index: 1 << 31}:   {Backend: 1, Service: 1},
		{Service: 2, Generation: 5, Index: 0}:         {Backend: 3, Service: 2},
		{Service: 1, Generation: 3, Index: 0}:         {Backend: 9, Service: 1}, // an old generation
		{Service: 1, Generation: 4, Index: 1<<30 | 1}: {Backend: 1, Service: 1}, // for affinity
	}
	backendAt := func(id uint32, at string, local bool) backend {
		a := netip.MustParseAddrPort(at)
		b := backend{ID: id, Addr: addressOf(a.Addr()), Port: portOf(a.Port()), Proto: protoTCP}
		if local {
			b.Flags = backendLocal
		}
		return b
	}
	backends := map[uint32]backend{
		1: backendAt(1, p1IP+":8080", true), 2: backendAt(2, p2IP+":8080", false), 3: backendAt(3, v6.p2+":8080", false),
	}
	key := func(addr string, port uint16, p proto, s scope) frontendKey {
		return frontendKey{Addr: addressOf(ip(addr)), Port: portOf(port), Proto: p, Scope: s}
	}
	d := &Dump{
		Node: "n1", Self: []netip.Addr{ip(v4.n1), ip(v6.n1)},
		Nodes:    []DumpNode{{Addr: ip(v6.n1), Self: true}, {Addr: ip(v4.n2)}, {Addr: ip(v4.n1), Self: true}},
		Counters: map[string]uint64{counterNames[1]: 3, counterNames[0]: 12},
	}
	for _, f := range []struct {
		frontendKey
		frontend
		visits
	}{
		{key("::", 30080, protoTCP, outside), frontend{Service: 2, Generation: 5, Count: 1, Flags: flagMasquerade}, visits{Connections: 1}},
		{key("0.0.0.0", 30080, protoTCP, outside), frontend{Service: 1, Generation: 4, Count: 1, Set: uint8(route.LocalSet)}, visits{}},
		{key("0.0.0.0", 30080, protoTCP, inside), frontend{Service: 1, Generation: 4, Count: 2, Affinity: 10800}, visits{Connections: 2}},
		{key("10.96.1.1", 80, protoTCP, inside), frontend{Service: 1, Generation: 4, Count: 2, Affinity: 10800}, visits{Connections: 7}},
		{key("10.96.1.1", 0, 0, inside), frontend{Verdict: uint8(route.Reject)}, visits{}},
		{key("10.96.1.2", 53, protoUDP, inside), frontend{Service: 3, Generation: 6, Verdict: uint8(route.Reject)}, visits{Refused: 3}},
		{key("192.0.2.1", 80, protoTCP, outside), frontend{Service: 1, Generation: 4, Count: 2, Flags: flagMasquerade | flagRestricted}, visits{Connections: 1, Dropped: 4}},
		{key("fd00:96::1:1", 443, protoTCP, outside), frontend{Service: 2, Generation: 5, Verdict: uint8(route.Drop)}, visits{Dropped: 1}},
	} {
		df := dumpFrontend(f.frontendKey, f.frontend, slots, backends, f.visits)
		if df.Restricted {
			df.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		}
		d.Frontends = append(d.Frontends, df)
	}
	for _, b := range backends {
		d.Backends = append(d.Backends, dumpBackend(b))
	}
	flowOf := func(from, to, newFrom, newTo string, flags uint32) DumpFlow {
		a, b, c, e := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to), netip.MustParseAddrPort(newFrom), netip.MustParseAddrPort(newTo)
		return dumpFlow(
			tuple{Saddr: addressOf(a.Addr()), Daddr: addressOf(b.Addr()), Sport: portOf(a.Port()), Dport: portOf(b.Port()), Proto: protoTCP},
			flow{Saddr: addressOf(c.Addr()), Daddr: addressOf(e.Addr()), Sport: portOf(c.Port()), Dport: portOf(e.Port()), Flags: flags, Service: 1, Backend: 2})
	}
	d.Flows = []DumpFlow{
		flowOf(p2IP+":8080", n1IP+":61007", n1IP+":30080", lanIP+":40000", flowReply|flowFin),
		flowOf(lanIP+":40000", n1IP+":30080", n1IP+":61007", p2IP+":8080", flowRst),
		flowOf(v6.lan+":40000", v6.n1+":30080", v6.n1+":61007", v6.p2+":8080", 0),
	}
	d.sort()
	return d
}

// TestDumpGolden shows what `minato service dump` prints.
func TestDumpGolden(t *testing.T) {
	d := everyKind()
	golden(t, "dump.txt", []byte(d.String()))
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "dump.json", append(data, '\n'))
	// What a client reads from JSON it tells in the same words.
	var back Dump
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.String(), back.String()); diff != "" {
		t.Errorf("after JSON (-want +got):\n%s", diff)
	}
}
