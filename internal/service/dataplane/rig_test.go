package dataplane

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/service/route"
)

// What a packet program can answer.
const (
	next     = 0xffffffff
	pass     = 0
	shot     = 2
	redirect = 7
)

// rig runs the packet programs on packets made here. Nothing is attached.
type rig struct {
	t          testing.TB
	ns         host.Netns
	collection *ebpf.Collection
	reconciler *reconciler
	settings   settings
	pod        uint32 // interfaces that stand for the places where packets are met
	uplink     uint32
	injectIn   uint32
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigOf(t, Limits{})
}

func newRigOf(t testing.TB, l Limits) *rig {
	t.Helper()
	requireRoot(t)
	spec, err := specFor(true)
	if err != nil {
		t.Fatal(err)
	}
	l.apply(spec)
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &rig{t: t, ns: netnsFor(t, fmt.Sprintf("rig-%d", c.Programs["ingress"].FD())), collection: c}
	h, err := r.ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, pair := range []struct {
		a, b string
		x, y *uint32
	}{{"pod", "up", &r.pod, &r.uplink}, {"in", "out", &r.injectIn, nil}} {
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: pair.a}, PeerName: pair.b, PeerHardwareAddr: station}); err != nil {
			t.Fatal(err)
		}
		for name, index := range map[string]*uint32{pair.a: pair.x, pair.b: pair.y} {
			l, err := h.LinkByName(name)
			if err != nil {
				t.Fatal(err)
			}
			if index != nil {
				*index = uint32(l.Attrs().Index)
			}
		}
	}
	r.reconciler = newReconciler(discard(), kernelTable[frontendKey, frontend]{c.Maps["frontends"]},
		kernelTable[slotKey, slot]{c.Maps["slots"]}, kernelMaglev{c.Maps["maglev"]}, kernelTable[uint32, backend]{c.Maps["backends"]},
		kernelTable[sourceRange, uint32]{c.Maps["source_ranges"]})
	r.settings = settings{
		Self: addressOf(ip(v4.n1)), Self6: addressOf(ip(v6.n1)), NodePortMin: nodePortMin, NodePortMax: nodePortMax,
		MasqueradeMin: masqueradeMin, MasqueradeCount: 1000,
		Services: [maxRanges]cidr{cidrOf(v4.services()), cidrOf(v6.services()), noCIDR, noCIDR},
		Uplinks:  [maxUplinks]uint32{r.uplink},
		MAC:      [8]byte{2, 4, 6, 8, 10, 12},
	}
	r.configure()
	nodes := kernelTable[address, node]{c.Maps["nodes"]}
	for _, f := range []family{v4, v6} {
		err = nodes.put([]address{addressOf(ip(f.n1)), addressOf(ip(f.n2))}, []node{{Flags: nodeSelf}, {}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) configure() {
	r.t.Helper()
	if err := r.collection.Maps["config"].Put(uint32(0), &r.settings); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) apply(fs ...route.Frontend) {
	r.t.Helper()
	by := map[types.NamespacedName][]route.Frontend{}
	for _, f := range fs {
		by[f.Service] = append(by[f.Service], f)
	}
	if err := r.reconciler.apply(by); err != nil {
		r.t.Fatal(err)
	}
}

// skb is the part of struct __sk_buff that the programs look at.
type skb struct {
	Len, PktType, Mark, QueueMapping, Protocol, VlanPresent, VlanTCI, VlanProto, Priority uint32
	IngressIfindex, Ifindex                                                               uint32
	Rest                                                                                  [148]byte
}

// run sends a packet through the program of its family at an interface.
func (r *rig) run(dir direction, ifindex uint32, in []byte) (uint32, []byte) {
	r.t.Helper()
	verdict, out, err := r.try(programFor(dir, isIPv6(in)), ifindex, in)
	if err != nil {
		r.t.Fatal(err)
	}
	return verdict, out
}

// try is run for packets that the kernel may not even let in.
func (r *rig) try(program string, ifindex uint32, in []byte) (verdict uint32, out []byte, err error) {
	opts := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: skb{Ifindex: ifindex}}
	err = r.ns.Do(func() (err error) {
		verdict, err = r.collection.Programs[program].Run(opts)
		return err
	})
	return verdict, opts.DataOut, err
}

func (r *rig) ingress(ifindex uint32, in []byte) (uint32, []byte) {
	r.t.Helper()
	return r.run(inbound, ifindex, in)
}
