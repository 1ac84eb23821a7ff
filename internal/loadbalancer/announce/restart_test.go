package announce

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"
)

// asks tells whether a node answers for an address.
func (r *raw) asks(f family, addr string, own net.HardwareAddr) bool {
	a := ip(addr)
	if f.ipv6 {
		r.send(solicitation(r.mac, ip(f.client).String(), a.String()))
		return r.receive(time.Second, func(got []byte) bool {
			return len(got) > 78 && got[12] == 0x86 && got[54] == 136 && bytes.Equal(got[62:78], a.AsSlice()) && bytes.Equal(got[6:12], own)
		}) != nil
	}
	r.send(arpFrame(broadcast, r.mac, 1, r.mac, v4.client, noMAC, a.String()))
	want := arpFrame(r.mac, own, 2, own, a.String(), r.mac, v4.client)
	return r.receive(time.Second, func(got []byte) bool { return bytes.Equal(got, want) }) != nil
}

// asksOn asks all the time, until the function that it returns is called.
func (r *raw) asksOn(f family, addr string, own net.HardwareAddr) (stop func() (asked, lost int)) {
	end, done := make(chan struct{}), make(chan struct{})
	asked, lost := 0, 0
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
				if asked++; !r.asks(f, addr, own) {
					lost++
				}
			}
		}
	}()
	return func() (int, int) {
		close(end)
		<-done
		return asked, lost
	}
}

// content is what a node's tables have, in words and in numbers.
func (n *node) content() string {
	n.w.t.Helper()
	d, err := n.Dump()
	if err != nil {
		n.w.t.Fatal(err)
	}
	return fmt.Sprintf("%+v %+v %v %v", d.Addresses, d.Ports, n.spreads.have, n.hosts.numbers)
}

// TestRestart ends a process and starts another one, while requests for the address come all the time.
func TestRestart(t *testing.T) { eachFamily(t, testRestart) }

func testRestart(t *testing.T, f family) {
	w := newWorld(t, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	table := &Table{Nodes: []string{"n1", "n2"}, Buckets: slices.Repeat([]Bucket{{Owner: 1, Second: None}}, MaxBuckets)}
	service := spreadAll(f, true, table)
	n1.apply("a", service)
	n2.apply("a", spreadAll(f, false, table))
	w.serve(n2, f.vip+":80")
	stop := w.raw(w.lan, "br").asksOn(f, f.vip, n1.mac())
	before := n1.content()
	served := func(when string) {
		t.Helper()
		c, name, err := w.dial(f.vip+":80", 0)
		if err != nil || name != "n2" {
			t.Errorf("%s: %s, %v", when, name, err)
			return
		}
		c.Close()
	}
	for range 3 {
		n1.close()
		served("while no process runs")
		n1.open()
		served("before anything is applied")
		if err := n1.SetPeers([]Peer{{Name: "n2", Addresses: n2.cfg.Addresses}}); err != nil {
			t.Fatal(err)
		}
		n1.apply("a", service)
		if after := n1.content(); after != before {
			t.Errorf("before %s\nafter %s", before, after)
		}
		served("after the same was applied")
	}
	if asked, lost := stop(); lost > 0 || asked < 10 {
		t.Errorf("%d of %d requests had no answer", lost, asked)
	}
}

// TestSweep has a process take over the tables of one that had more.
func TestSweep(t *testing.T) { eachFamily(t, testSweep) }

func testSweep(t *testing.T, f family) {
	w := newWorld(t, "n1", "n2")
	n1 := w.nodes["n1"]
	n1.apply("a", spreadAll(f, true, oneNode("n2")))
	n1.apply("gone", announced(f.vip2, true))
	n1.close()
	n1.open()
	r := w.raw(w.lan, "br")
	if !r.asks(f, f.vip2, n1.mac()) {
		t.Error("the other address is not answered before the sweep")
	}
	if err := n1.Apply("a", announced(f.vip, true)); err != nil {
		t.Fatal(err)
	}
	if err := n1.Sweep(); err != nil {
		t.Fatal(err)
	}
	if len(n1.hosts.numbers) != 1 {
		t.Errorf("nodes went before the peers were known: %v", n1.hosts.numbers)
	}
	if err := errors.Join(n1.SetPeers(nil), n1.Sweep()); err != nil {
		t.Fatal(err)
	}
	if r.asks(f, f.vip2, n1.mac()) {
		t.Error("an address that no Service has any more is answered after the sweep")
	}
	if !r.asks(f, f.vip, n1.mac()) {
		t.Error("the address is not answered after the sweep")
	}
	if n, m := len(n1.spreads.have), len(n1.buckets.held); n+m > 0 || len(n1.hosts.numbers) > 0 {
		t.Errorf("after the sweep there are %d ports, %d tables and nodes %v", n, m, n1.hosts.numbers)
	}
}
