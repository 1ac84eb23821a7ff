package announce

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Dump is what a node announces and hands on, for people and programs that inspect it.
type Dump struct {
	Node string `json:"node"`
	// Silent says that nothing is answered, because the node hears nobody.
	Silent    bool          `json:"silent"`
	Links     []DumpLink    `json:"links"`
	Peers     []DumpPeer    `json:"peers"`
	Addresses []DumpAddress `json:"addresses"`
	Ports     []DumpPort    `json:"ports"`
}

// DumpLink is an uplink.
type DumpLink struct {
	Name    string `json:"name"`
	MAC     string `json:"mac"`
	Carrier bool   `json:"carrier"`
}

// DumpPeer is another node.
type DumpPeer struct {
	Name string `json:"name"`
	// State is alive, dead or unknown.
	State     string            `json:"state"`
	Addresses []DumpPeerAddress `json:"addresses"`
}

// DumpPeerAddress is an address of another node with the hardware address from which its probes come, once one came.
type DumpPeerAddress struct {
	Addr netip.Addr `json:"addr"`
	MAC  string     `json:"mac,omitempty"`
}

// DumpAddress is an address of Services.
type DumpAddress struct {
	Addr     netip.Addr `json:"addr"`
	Services []string   `json:"services"`
	// State says whether it is announced, in words.
	State string `json:"state"`
	// Links are the uplinks where it is announced.
	Links []string `json:"links,omitempty"`
}

// DumpPort is a port whose flows are divided among nodes.
type DumpPort struct {
	Addr     netip.Addr `json:"addr"`
	Port     uint16     `json:"port"`
	Protocol string     `json:"protocol"`
	Service  string     `json:"service"`
	ByClient bool       `json:"byClient,omitempty"`
	// Shares are the buckets that each node owns.
	Shares map[string]int `json:"shares"`
}

// Dump reads the tables.
func (a *Announcer) Dump() (*Dump, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return nil, fmt.Errorf("dump tables of node %s: %w", a.cfg.NodeName, errClosed)
	}
	d := &Dump{Node: a.cfg.NodeName, Silent: a.settings.Flags&configSilent != 0}
	for _, name := range slices.Sorted(maps.Keys(a.uplinks)) {
		u := a.uplinks[name]
		d.Links = append(d.Links, DumpLink{Name: name, MAC: u.mac.String(), Carrier: u.carrier})
	}
	for addr, s := range a.addrs {
		da := DumpAddress{Addr: addr, Services: slices.Sorted(maps.Keys(s.claims)), State: s.phase.String()}
		for _, l := range d.Links {
			if s.phase == answered && s.links&(1<<a.uplinks[l.Name].number) != 0 {
				da.Links = append(da.Links, l.Name)
			}
		}
		d.Addresses = append(d.Addresses, da)
	}
	slices.SortFunc(d.Addresses, func(x, y DumpAddress) int { return x.Addr.Compare(y.Addr) })
	if err := a.dumpPeers(d); err != nil {
		return nil, err
	}
	return d, a.dumpPorts(d)
}

func (a *Announcer) dumpPeers(d *Dump) error {
	by := map[string][]DumpPeerAddress{}
	var (
		k  address
		e  peerEntry
		it = a.collection.Maps["peers"].Iterate()
	)
	for it.Next(&k, &e) {
		p := DumpPeerAddress{Addr: k.Addr()}
		if e.MAC != (mac{}) {
			p.MAC = e.MAC.Addr().String()
		}
		name := a.hosts.name(e.Host)
		by[name] = append(by[name], p)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read table peers: %w", err)
	}
	alive := a.liveness.view().Peers
	for _, name := range slices.Sorted(maps.Keys(by)) {
		p := DumpPeer{Name: name, State: "unknown", Addresses: by[name]}
		slices.SortFunc(p.Addresses, func(x, y DumpPeerAddress) int { return x.Addr.Compare(y.Addr) })
		if is, known := alive[name]; known {
			p.State = map[bool]string{true: "alive", false: "dead"}[is]
		}
		d.Peers = append(d.Peers, p)
	}
	return nil
}

func (a *Announcer) dumpPorts(d *Dump) error {
	shares := map[uint32]map[string]int{}
	for k, e := range a.spreads.have {
		if shares[e.Table] == nil {
			t, err := a.table(e.Table)
			if err != nil {
				return err
			}
			shares[e.Table] = map[string]int{}
			for i := range min(t.Count, MaxBuckets) {
				owner, _ := t.get(int(i))
				shares[e.Table][a.hosts.name(owner)]++
			}
		}
		d.Ports = append(d.Ports, DumpPort{
			Addr: k.Addr.Addr(), Port: k.port(), Protocol: Protocol(k.Proto).String(), Service: a.owners[k],
			ByClient: e.Flags&spreadByClient != 0, Shares: shares[e.Table],
		})
	}
	slices.SortFunc(d.Ports, func(x, y DumpPort) int {
		return cmp.Or(x.Addr.Compare(y.Addr), cmp.Compare(x.Port, y.Port), cmp.Compare(x.Protocol, y.Protocol))
	})
	return nil
}

func (a *Announcer) table(id uint32) (*tableEntry, error) {
	t := &tableEntry{}
	if err := a.collection.Maps["tables"].Lookup(id, t); err != nil {
		return nil, fmt.Errorf("read table of buckets: %w", err)
	}
	return t, nil
}
