package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"minato/internal/loadbalancer/config"
)

// Bounds of a State. They are far above what a node has, and keep a message to a Helper bounded.
const (
	maxPeers       = 256
	maxRoutes      = 20_000 // of one peer
	maxCommunities = 128    // of one route, both kinds together
	maxPassword    = 80     // what TCP's MD5 option takes
)

// State is all that a node has to tell to its peers.
type State struct {
	// RouterID is an IPv4 address, or a number that looks like one, by which the peers know the node.
	RouterID netip.Addr `json:"routerID,omitzero"`
	// Peers have different names, and different addresses or interfaces.
	Peers []Peer `json:"peers,omitempty"`
}

// Peer is a router, and the routes that it is told.
type Peer struct {
	Name string `json:"name"`
	// LocalASN is the node's own AS number in this session.
	LocalASN uint32 `json:"localASN"`
	// PeerASN is the router's; 0 is any but LocalASN.
	PeerASN uint32 `json:"peerASN,omitempty"`
	// Address is the router's. Without it Interface is the link on which the one other machine is the router.
	Address   netip.Addr `json:"address,omitzero"`
	Interface string     `json:"interface,omitempty"`
	// Source is the address to dial from; invalid for the one that the route to the peer has.
	Source netip.Addr `json:"source,omitzero"`
	Port   uint16     `json:"port"`
	// Times in whole seconds; 0 is the speaker's own choice.
	HoldTime      time.Duration `json:"holdTime,omitempty"`
	KeepaliveTime time.Duration `json:"keepaliveTime,omitempty"`
	ConnectTime   time.Duration `json:"connectTime,omitempty"`
	// Password protects the session by TCP's MD5 option.
	Password string `json:"password,omitempty"`
	// BFD probes the path to the peer, if it isn't nil.
	BFD *BFD `json:"bfd,omitempty"`
	// GracefulRestart asks the peer to keep the routes while the speaker restarts.
	GracefulRestart bool `json:"gracefulRestart,omitempty"`
	// MultiHop lets a peer of another AS be behind other routers.
	MultiHop bool `json:"multiHop,omitempty"`
	// DualStack has the session carry routes of both IP families.
	DualStack bool    `json:"dualStack,omitempty"`
	Routes    []Route `json:"routes,omitempty"`
}

// BFD is how the path to a peer is probed.
type BFD struct {
	Receive    time.Duration `json:"receive"`
	Transmit   time.Duration `json:"transmit"`
	Multiplier uint8         `json:"multiplier"`
	// Passive waits for the router's first packet.
	Passive bool `json:"passive,omitempty"`
	// MinimumTTL is the least that packets of a router behind others may have; 0 is 254. A router on the link always has
	// 255.
	MinimumTTL uint8 `json:"minimumTTL,omitempty"`
}

// Route is a prefix that a peer is told.
type Route struct {
	Prefix netip.Prefix `json:"prefix"`
	// NextHop is where the peer shall send packets; invalid for the node's own address in the session.
	NextHop netip.Addr `json:"nextHop,omitzero"`
	// LocalPref is only told to peers of the same AS; 0 is the default of BGP, 100.
	LocalPref   uint32             `json:"localPref,omitempty"`
	Communities []config.Community `json:"communities,omitempty"`
}

// Internal tells whether the peer is known to be of the node's own AS.
func (p *Peer) Internal() bool { return p.PeerASN == p.LocalASN }

// carries tells whether routes of a family are sent in the session.
func (p *Peer) carries(prefix netip.Prefix) bool {
	return p.DualStack || p.Interface != "" || prefix.Addr().Is4() == p.Address.Is4()
}

// sameSession tells whether two peers differ in nothing but their routes.
func sameSession(a, b *Peer) bool {
	x, y := *a, *b
	x.Routes, y.Routes = nil, nil
	return reflect.DeepEqual(x, y)
}

// equal tells whether two routes are the same.
func (r Route) equal(o Route) bool {
	return r.Prefix == o.Prefix && r.NextHop == o.NextHop && r.LocalPref == o.LocalPref && slices.Equal(r.Communities, o.Communities)
}

// clone copies a State, so that its maker may go on with the original.
func (s State) clone() State {
	s.Peers = slices.Clone(s.Peers)
	for i := range s.Peers {
		p := &s.Peers[i]
		p.Routes = slices.Clone(p.Routes)
		for j := range p.Routes {
			p.Routes[j].Communities = slices.Clone(p.Routes[j].Communities)
		}
		if p.BFD != nil {
			bfd := *p.BFD
			p.BFD = &bfd
		}
	}
	return s
}

// Validate tells what no speaker could do. What Plan makes is valid.
func (s State) Validate() error {
	if len(s.Peers) == 0 {
		return nil
	}
	if !s.RouterID.Is4() || s.RouterID.IsUnspecified() {
		return fmt.Errorf("router ID %v: give an IPv4 address", s.RouterID)
	}
	if len(s.Peers) > maxPeers {
		return fmt.Errorf("%d peers: a node can have %d at most", len(s.Peers), maxPeers)
	}
	names, ends := map[string]bool{}, map[string]bool{}
	for i := range s.Peers {
		p := &s.Peers[i]
		if err := p.validate(); err != nil {
			return fmt.Errorf("BGP peer %q: %w", p.Name, err)
		}
		if names[p.Name] || ends[p.end()] {
			return fmt.Errorf("BGP peer %q: another peer has the same name or address", p.Name)
		}
		names[p.Name], ends[p.end()] = true, true
	}
	return nil
}

// end is what no two peers have in common: an address or an interface.
func (p *Peer) end() string {
	if p.Interface != "" {
		return "%" + p.Interface
	}
	return p.Address.String()
}

func (p *Peer) validate() error {
	switch {
	case p.Name == "" || len(p.Name) > 253:
		return errors.New("the name has to have 1 to 253 characters")
	case p.LocalASN == 0:
		return errors.New("the local AS number is missing")
	case p.Address.IsValid() == (p.Interface != ""):
		return errors.New("give either an address or an interface")
	case p.Address.IsUnspecified() || p.Address.IsMulticast() || p.Address.Is4In6():
		return fmt.Errorf("%v is no address of a router", p.Address)
	case len(p.Interface) > 15:
		return fmt.Errorf("interface %q: names of interfaces have 15 characters at most", p.Interface)
	case p.Source.IsValid() && p.Address.IsValid() && p.Source.Is4() != p.Address.Is4():
		return fmt.Errorf("source address %v is of another IP family than %v", p.Source, p.Address)
	case p.Port == 0:
		return errors.New("the port is missing")
	case p.HoldTime != 0 && p.HoldTime < minHold, p.HoldTime > maxTime, p.KeepaliveTime < 0, p.KeepaliveTime > maxTime, p.ConnectTime < 0, p.ConnectTime > maxTime:
		return errors.New("a time is out of range")
	case len(p.Password) > maxPassword:
		return fmt.Errorf("the password is longer than %d bytes", maxPassword)
	case len(p.Routes) > maxRoutes:
		return fmt.Errorf("%d routes: a peer can be told %d at most", len(p.Routes), maxRoutes)
	}
	if b := p.BFD; b != nil && (b.Receive < minBFD || b.Receive > maxBFD || b.Transmit < minBFD || b.Transmit > maxBFD || b.Multiplier < 1) {
		return errors.New("a BFD interval or the multiplier is out of range")
	}
	return p.validateRoutes()
}

func (p *Peer) validateRoutes() error {
	seen := make(map[netip.Prefix]bool, len(p.Routes))
	for _, r := range p.Routes {
		switch {
		case !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6():
			return fmt.Errorf("route %v: not a prefix", r.Prefix)
		case seen[r.Prefix]:
			return fmt.Errorf("route %v: it is there twice", r.Prefix)
		case r.NextHop.IsValid() && (r.NextHop.Is4() != r.Prefix.Addr().Is4() || r.NextHop.Zone() != "" || r.NextHop.Is4In6()):
			return fmt.Errorf("route %v: the next hop %v has to be an address of the same IP family", r.Prefix, r.NextHop)
		case len(r.Communities) > maxCommunities:
			return fmt.Errorf("route %v: %d communities, more than %d", r.Prefix, len(r.Communities), maxCommunities)
		}
		for _, c := range r.Communities {
			if !c.Large && (c.Parts[0] > 0xffff || c.Parts[1] > 0xffff || c.Parts[2] != 0) {
				return fmt.Errorf("route %v: community %v: the numbers of a standard community are 0 to 65535", r.Prefix, c.Parts)
			}
		}
		seen[r.Prefix] = true
	}
	return nil
}

// Ranges of times: of BGP's by its message formats, of BFD's by MetalLB's API.
const (
	minHold = 3 * time.Second
	maxTime = 65535 * time.Second
	minBFD  = 10 * time.Millisecond
	maxBFD  = 60 * time.Second
)
