package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"minato/internal/service/route"
)

// Dump is the content of the kernel's tables, in words. It marshals to JSON.
type Dump struct {
	Node string
	// Self are the addresses that masqueraded traffic takes, one of each family.
	Self      []netip.Addr
	Nodes     []DumpNode
	Frontends []DumpFrontend
	Backends  []DumpBackend
	Flows     []DumpFlow
	Counters  map[string]uint64
}

// DumpNode is an address of a node at which NodePorts are served.
type DumpNode struct {
	Addr netip.Addr
	Self bool
}

// DumpFrontend is a frontend's entry for traffic from inside or from outside.
type DumpFrontend struct {
	// Addr is the unspecified address of the family for all node addresses.
	Addr       netip.Addr
	Port       uint16
	Protocol   string
	From       string // inside or outside
	Verdict    string
	Set        string
	Masquerade bool
	// HostPort frontends are a Pod's; a NodePort of the same number goes first.
	HostPort bool `json:",omitempty"`
	// Consistent frontends pick by a hash of the connection, others at random.
	Consistent bool
	// Restricted frontends admit only the clients in SourceRanges.
	Restricted   bool
	SourceRanges []netip.Prefix
	// Affinity is in seconds.
	Affinity   uint32
	Service    uint32
	Generation uint32
	Backends   []netip.AddrPort
	// The counters of the entry, see Visits.
	Connections, Refused, Dropped uint64
}

// DumpBackend is a backend that connections may use, even if no frontend points to it any more.
type DumpBackend struct {
	ID       uint32
	Addr     netip.AddrPort
	Protocol string
	Local    bool
}

// DumpFlow is a conntrack entry: one direction of a translated connection.
type DumpFlow struct {
	Protocol         string
	From, To         netip.AddrPort
	NewFrom, NewTo   netip.AddrPort
	Reply, Fin, Rst  bool
	Service, Backend uint32
}

// Dump reads the tables.
func (d *DataPlane) Dump() (*Dump, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return nil, fmt.Errorf("dump tables of node %s: %w", d.cfg.NodeName, errClosed)
	}
	out := &Dump{Node: d.cfg.NodeName, Self: d.self(), Counters: map[string]uint64{}}
	backends := map[uint32]backend{}
	slots := map[slotKey]slot{}
	err := d.nodeTable().each(func(a address, n node) {
		out.Nodes = append(out.Nodes, DumpNode{Addr: a.Addr(), Self: n.Flags&nodeSelf != 0})
	})
	if err != nil {
		return nil, err
	}
	if err := d.reconciler.backends.each(func(id uint32, b backend) { backends[id] = b }); err != nil {
		return nil, err
	}
	if err := d.reconciler.slots.each(func(k slotKey, s slot) { slots[k] = s }); err != nil {
		return nil, err
	}
	ranges := map[uint32][]netip.Prefix{}
	err = d.reconciler.ranges.each(func(r sourceRange, _ uint32) { ranges[r.Service] = append(ranges[r.Service], r.Range()) })
	if err != nil {
		return nil, err
	}
	came := map[frontendKey]visits{}
	if err := d.eachVisits(func(k frontendKey, v visits) { came[k] = v }); err != nil {
		return nil, err
	}
	err = d.reconciler.frontends.each(func(k frontendKey, f frontend) {
		df := dumpFrontend(k, f, slots, backends, came[k])
		if df.Restricted {
			df.SourceRanges = ranges[f.Service]
		}
		out.Frontends = append(out.Frontends, df)
	})
	if err != nil {
		return nil, err
	}
	err = kernelTable[tuple, flow]{d.collection.Maps["flows"]}.each(func(t tuple, f flow) {
		out.Flows = append(out.Flows, dumpFlow(t, f))
	})
	if err != nil {
		return nil, err
	}
	for _, b := range backends {
		out.Backends = append(out.Backends, dumpBackend(b))
	}
	out.sort()
	return out, d.dumpCounters(out)
}

func addrPort(a address, p port) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), p.Number()) }

func dumpFrontend(k frontendKey, f frontend, slots map[slotKey]slot, backends map[uint32]backend, v visits) DumpFrontend {
	out := DumpFrontend{
		Addr: k.Addr.Addr(), Port: k.Port.Number(), Protocol: k.Proto.String(), From: k.Scope.String(),
		Verdict: route.Verdict(f.Verdict).String(), Set: route.Set(f.Set).String(),
		Masquerade: f.Flags&flagMasquerade != 0, HostPort: f.Flags&flagHostPort != 0, Restricted: f.Flags&flagRestricted != 0, Affinity: f.Affinity, Consistent: f.Flags&flagConsistent != 0,
		Service: f.Service, Generation: f.Generation,
		Connections: v.Connections, Refused: v.Refused, Dropped: v.Dropped,
	}
	for i := range f.Count {
		s, ok := slots[slotKey{Service: f.Service, Generation: f.Generation, Index: i | uint32(f.Set)<<31}]
		if !ok && out.Consistent {
			break // Count is the size of the Maglev table
		}
		b := backends[s.Backend]
		out.Backends = append(out.Backends, addrPort(b.Addr, b.Port))
	}
	return out
}

func dumpBackend(b backend) DumpBackend {
	return DumpBackend{ID: b.ID, Addr: addrPort(b.Addr, b.Port), Protocol: b.Proto.String(), Local: b.Flags&backendLocal != 0}
}

func dumpFlow(t tuple, f flow) DumpFlow {
	return DumpFlow{
		Protocol: t.Proto.String(),
		From:     addrPort(t.Saddr, t.Sport), To: addrPort(t.Daddr, t.Dport),
		NewFrom: addrPort(f.Saddr, f.Sport), NewTo: addrPort(f.Daddr, f.Dport),
		Reply: f.Flags&flowReply != 0, Fin: f.Flags&flowFin != 0, Rst: f.Flags&flowRst != 0,
		Service: f.Service, Backend: f.Backend,
	}
}

// Counters reads the counters of the whole node, by the names that Dump has.
func (d *DataPlane) Counters() (map[string]uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return nil, fmt.Errorf("read counters of node %s: %w", d.cfg.NodeName, errClosed)
	}
	out := &Dump{Counters: map[string]uint64{}}
	return out.Counters, d.dumpCounters(out)
}

func (d *DataPlane) dumpCounters(out *Dump) error {
	for i, name := range counterNames {
		var perCPU []uint64
		if err := d.collection.Maps["counters"].Lookup(uint32(i), &perCPU); err != nil {
			return fmt.Errorf("read counter %q: %w", name, err)
		}
		for _, n := range perCPU {
			out.Counters[name] += n
		}
	}
	return nil
}

func (o *Dump) sort() {
	slices.SortFunc(o.Nodes, func(a, b DumpNode) int { return a.Addr.Compare(b.Addr) })
	slices.SortFunc(o.Frontends, func(a, b DumpFrontend) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.From, b.From))
	})
	slices.SortFunc(o.Backends, func(a, b DumpBackend) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(o.Flows, func(a, b DumpFlow) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.Protocol, b.Protocol))
	})
}

// String writes an entry a line.
func (o *Dump) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "node %s, masquerading as %v\n", o.Node, o.Self)
	for _, n := range o.Nodes {
		who := "other node"
		if n.Self {
			who = "this node"
		}
		fmt.Fprintf(&s, "address %s of %s\n", n.Addr, who)
	}
	for _, f := range o.Frontends {
		fmt.Fprintln(&s, f)
	}
	for _, b := range o.Backends {
		place := "remote"
		if b.Local {
			place = "local"
		}
		fmt.Fprintf(&s, "backend %d: %s/%s, %s\n", b.ID, b.Addr, b.Protocol, place)
	}
	for _, f := range o.Flows {
		fmt.Fprintln(&s, f)
	}
	for _, name := range counterNames {
		if n := o.Counters[name]; n > 0 {
			fmt.Fprintf(&s, "%d %s\n", n, name)
		}
	}
	return s.String()
}

func (f DumpFrontend) String() string {
	addr := f.Addr.String()
	switch {
	case f.Addr.IsUnspecified() && f.Addr.Is6():
		addr = "every node, IPv6,"
	case f.Addr.IsUnspecified():
		addr = "every node"
	}
	if f.Protocol == proto(0).String() {
		return fmt.Sprintf("%s is a Service's: %s at other ports", addr, f.Verdict)
	}
	s := fmt.Sprintf("%s %d/%s from %s: %s", addr, f.Port, f.Protocol, f.From, f.Verdict)
	if f.HostPort {
		s += ", hostPort"
	}
	if f.Verdict != route.Forward.String() {
		return s + f.came()
	}
	if f.Masquerade {
		s += ", masquerade"
	}
	if f.Consistent {
		s += ", consistently"
	}
	if f.Restricted {
		s += fmt.Sprintf(", only from %v", f.SourceRanges)
	}
	if f.Affinity > 0 {
		s += fmt.Sprintf(", affinity %d s", f.Affinity)
	}
	return fmt.Sprintf("%s, service %d generation %d, %s set %v%s", s, f.Service, f.Generation, f.Set, f.Backends, f.came())
}

// came writes the counters that are not zero.
func (f DumpFrontend) came() (s string) {
	for _, c := range []struct {
		n    uint64
		what string
	}{{f.Connections, "connections"}, {f.Refused, "refused"}, {f.Dropped, "dropped"}} {
		if c.n > 0 {
			s += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	return s
}

func (f DumpFlow) String() string {
	s := fmt.Sprintf("flow %s %s -> %s becomes %s -> %s", f.Protocol, f.From, f.To, f.NewFrom, f.NewTo)
	if f.Reply {
		s += ", reply"
	}
	if f.Fin {
		s += ", finished"
	}
	if f.Rst {
		s += ", reset"
	}
	return s
}
