package announce

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/vishvananda/netlink"

	"minato/internal/host"
)

// What a program can answer.
const (
	next     = 0xffffffff
	shot     = 2
	redirect = 7
)

// family is the world of the tests as one family sees it. Addresses are written so that a port can be appended.
type family struct {
	name                              string
	ipv6                              bool
	self, peer, third, client, router string
	vip, vip2, foreign                string
}

var (
	v4 = family{
		name: "IPv4", self: "172.30.0.11", peer: "172.30.0.12", third: "172.30.0.13", client: "172.30.0.1", router: "172.30.0.99",
		vip: "172.30.200.1", vip2: "172.30.200.2", foreign: "172.30.200.9",
	}
	v6 = family{
		name: "IPv6", ipv6: true, self: "[fd00:30::11]", peer: "[fd00:30::12]", third: "[fd00:30::13]", client: "[fd00:30::1]", router: "[fd00:30::99]",
		vip: "[fd00:30::c8:1]", vip2: "[fd00:30::c8:2]", foreign: "[fd00:30::c8:9]",
	}
)

func eachFamily(t *testing.T, test func(t *testing.T, f family)) {
	for _, f := range []family{v4, v6} {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// ip parses an address that may have brackets.
func ip(s string) netip.Addr {
	return netip.MustParseAddrPort(s + ":0").Addr()
}

var (
	clientMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	peerMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 12}
	thirdMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 13}
	broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}
	noMAC     = net.HardwareAddr{0, 0, 0, 0, 0, 0}
)

// Numbers of nodes in the tables of a rig.
const (
	peerNumber  = 7
	thirdNumber = 0xffe
)

const probePort = 7946

// rig runs the programs on frames made here. Nothing is attached.
type rig struct {
	t          testing.TB
	ns         host.Netns
	collection *ebpf.Collection
	events     *ringbuf.Reader
	index      uint32
	mac        net.HardwareAddr
	settings   settings
	tables     uint32
}

func netnsFor(t testing.TB, name string) host.Netns {
	t.Helper()
	// With the number of the process, tests of several checkouts can run at a time.
	ns, err := host.CreateNetns(fmt.Sprintf("mt-lb-%d-%s", os.Getpid(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.DeleteNetns(ns) })
	// Addresses are usable at once, rather than after a second of looking for duplicates.
	if err := ns.Sysctls(map[string]string{"net/ipv6/conf/default/accept_dad": "0"}); err != nil {
		t.Fatal(err)
	}
	return ns
}

// newFlows makes a table like the Service data plane's.
func newFlows(t testing.TB) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "flows", Type: ebpf.Hash, KeySize: 40, ValueSize: 88, MaxEntries: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func newRig(t testing.TB) *rig {
	t.Helper()
	requireRoot(t)
	flows := newFlows(t)
	spec, err := specFor(true, flows)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{"flows": flows}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &rig{t: t, collection: c, ns: netnsFor(t, fmt.Sprintf("rig-%d", c.Programs[program4].FD()))}
	h, err := r.ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	err = h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up"}, PeerName: "down"})
	l, lookErr := h.LinkByName("up")
	if err := errors.Join(err, lookErr); err != nil {
		t.Fatal(err)
	}
	r.index, r.mac = uint32(l.Attrs().Index), l.Attrs().HardwareAddr
	if r.events, err = ringbuf.NewReader(c.Maps["events"]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.events.Close() })
	r.settings = settings{Flags: configFlows}
	binary.BigEndian.PutUint16(r.settings.ProbePort[:], probePort)
	r.configure()
	r.put("links", r.index, linkEntry{MAC: macOf(r.mac), Number: 3})
	r.put("stations", macOf(r.mac), uint32(selfNumber))
	for _, f := range []family{v4, v6} {
		r.address(f.self, addressSelf, 0)
		r.put("peers", addressOf(ip(f.peer)), peerEntry{Host: peerNumber})
		r.put("peers", addressOf(ip(f.third)), peerEntry{Host: thirdNumber})
	}
	r.put("hosts", uint32(peerNumber), hostEntry{Addr4: addressOf(ip(v4.peer)), Addr6: addressOf(ip(v6.peer))})
	r.put("hosts", uint32(thirdNumber), hostEntry{Addr4: addressOf(ip(v4.third)), Addr6: addressOf(ip(v6.third))})
	r.put("stations", macOf(thirdMAC), uint32(thirdNumber))
	return r
}

func (r *rig) put(table string, key, value any) {
	r.t.Helper()
	if err := r.collection.Maps[table].Put(key, value); err != nil {
		r.t.Fatalf("%s: %v", table, err)
	}
}

func (r *rig) configure() {
	r.t.Helper()
	r.put("config", uint32(0), r.settings)
}

func (r *rig) address(addr string, flags, links uint32) {
	r.t.Helper()
	r.put("addresses", addressOf(ip(addr)), addressEntry{Flags: flags, Links: links})
}

// spread divides the flows to a port among nodes; all gives the owner and the second of each bucket.
func (r *rig) spread(addr string, port uint16, p Protocol, flags uint32, all func(bucket int) (owner, second uint32)) {
	r.t.Helper()
	r.address(addr, addressOwned|addressSpread, 0)
	key := spreadKeyOf(ip(addr), port, p)
	r.tables++
	id := r.tables
	table := tableEntry{ID: id, Count: MaxBuckets}
	for i := range MaxBuckets {
		owner, second := all(i)
		table.set(i, owner, second)
	}
	r.put("tables", id, &table)
	r.put("spreads", key, spreadEntry{Table: id, Flags: flags, Check: key.check()})
}

// to is a spread with the same nodes for all buckets.
func to(owner, second uint32) func(int) (uint32, uint32) {
	return func(int) (uint32, uint32) { return owner, second }
}

// skb is the part of struct __sk_buff that the programs look at.
type skb struct {
	Len, PktType, Mark, QueueMapping, Protocol, VlanPresent, VlanTCI, VlanProto, Priority uint32
	IngressIfindex, Ifindex                                                               uint32
	Rest                                                                                  [148]byte
}

// try sends a frame through the programs, as the kernel would.
func (r *rig) try(in []byte) (verdict uint32, out []byte, err error) {
	names := []string{program4}
	if len(in) >= 14 && in[12] == 0x86 && in[13] == 0xdd {
		names = append(names, program6)
	}
	for _, name := range names {
		opts := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: skb{Ifindex: r.index}}
		err = r.ns.Do(func() (err error) {
			verdict, err = r.collection.Programs[name].Run(opts)
			return err
		})
		if out = opts.DataOut; err != nil || verdict != next {
			return verdict, out, err
		}
	}
	return verdict, out, nil
}

func (r *rig) run(in []byte) (uint32, []byte) {
	r.t.Helper()
	verdict, out, err := r.try(in)
	if err != nil {
		r.t.Fatal(err)
	}
	return verdict, out
}

// untouched checks that a frame is none of our business.
func (r *rig) untouched(what string, in []byte) {
	r.t.Helper()
	if v, out := r.run(in); v != next || !bytes.Equal(in, out) {
		r.t.Errorf("%s: verdict %d, frame\n% x, was\n% x", what, int32(v), brief(out), brief(in))
	}
}

// told returns what the programs told of.
func (r *rig) told() (out []event) {
	r.t.Helper()
	for r.events.AvailableBytes() > 0 {
		rec, err := r.events.Read()
		if err != nil {
			r.t.Fatal(err)
		}
		var e event
		if err := binary.Read(bytes.NewReader(rec.RawSample), binary.NativeEndian, &e); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func (r *rig) counts(addr string) (sum countsEntry) {
	r.t.Helper()
	var all []countsEntry
	err := r.collection.Maps["counters"].Lookup(addressOf(ip(addr)), &all)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		r.t.Fatal(err)
	}
	for _, c := range all {
		sum.Requests += c.Requests
		sum.Replies += c.Replies
		sum.HandedOn += c.HandedOn
		sum.Seconds += c.Seconds
	}
	return sum
}

// brief is the part of a frame that is worth printing.
func brief(frame []byte) []byte { return frame[:min(len(frame), 120)] }
