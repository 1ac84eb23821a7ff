package bgp

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
)

// Input is what Plan makes a State from.
type Input struct {
	// Node is the node's name, and Labels are its labels, which peers select by.
	Node   string
	Labels labels.Set
	// Addresses are the node's own, at most one of each IP family.
	Addresses []netip.Addr
	Peers     []config.Peer
	Profiles  []config.BFDProfile
	// Passwords are those in the Secrets that peers name, by the Secret's name.
	Passwords map[string]string
	// Routes are what elect.Routes has for the node's peers, of all addresses.
	Routes []elect.Route
	// Advertisements are those that the Routes are made from.
	Advertisements []config.BGPAdvertisement
}

// Plan makes the State of a node, and says what in the configuration it can't honour. It reads no clock and does no I/O.
// Peers that do not select the node are left out.
func Plan(in Input) (State, []config.Problem) {
	p := planner{in: in, ends: map[string]string{}}
	s := State{RouterID: p.routerID()}
	peers := slices.Clone(in.Peers)
	slices.SortFunc(peers, func(a, b config.Peer) int { return strings.Compare(a.Name, b.Name) })
	for i := range peers {
		if !selects(peers[i].NodeSelectors, in.Labels) {
			continue
		}
		if peer, ok := p.peer(&peers[i]); ok {
			s.Peers = append(s.Peers, peer)
		}
	}
	p.localPrefs(s.Peers)
	return s, p.problems
}

// planner collects problems.
type planner struct {
	in       Input
	ends     map[string]string // peers by address or interface
	problems []config.Problem
}

func (p *planner) problem(o config.Object, unused bool, field, format string, args ...any) {
	p.problems = append(p.problems, config.Problem{Object: o, Field: field, Message: fmt.Sprintf(format, args...), Unused: unused})
}

func selects(selectors []labels.Selector, set labels.Set) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}

// routerID is that which a peer asks for, the node's IPv4 address, or a number made from the node's name.
func (p *planner) routerID() netip.Addr {
	var id netip.Addr
	var first string
	peers := slices.Clone(p.in.Peers)
	slices.SortFunc(peers, func(a, b config.Peer) int { return strings.Compare(a.Name, b.Name) })
	for i := range peers {
		peer := &peers[i]
		switch {
		case !peer.RouterID.IsValid() || !selects(peer.NodeSelectors, p.in.Labels):
		case !peer.RouterID.Is4() || peer.RouterID.IsUnspecified():
			p.problem(peer.Object, false, "spec.routerID", "%v is no router ID; write one as an IPv4 address", peer.RouterID)
		case !id.IsValid():
			id, first = peer.RouterID, peer.Name
		case id != peer.RouterID:
			p.problem(peer.Object, false, "spec.routerID", "a node has one router ID, %v by peer %s, so this one is not used; give all peers of the node the same", id, first)
		}
	}
	if id.IsValid() {
		return id
	}
	for _, a := range p.in.Addresses {
		if a.Is4() {
			return a
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.in.Node))
	n := h.Sum32() | 1 // never 0.0.0.0
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// peer makes a peer and its routes; ok is false if there can be no session with it.
func (p *planner) peer(c *config.Peer) (out Peer, ok bool) {
	out = Peer{
		Name: c.Name, LocalASN: c.MyASN, PeerASN: c.PeerASN, Address: c.Address.Unmap(), Interface: c.Interface, Source: c.SourceAddress.Unmap(),
		Port: c.Port, Password: c.Password, GracefulRestart: c.GracefulRestart, MultiHop: c.MultiHop, DualStack: c.DualStack,
	}
	if out.Port == 0 {
		out.Port = 179
	}
	ok = p.usable(c) && p.asns(c, &out) && p.password(c, &out)
	if !ok {
		return out, false
	}
	p.times(c, &out)
	p.bfd(c, &out)
	if c.SourceAddress.IsValid() && c.Address.IsValid() && out.Source.Is4() != out.Address.Is4() {
		p.problem(c.Object, false, "spec.sourceAddress", "%v is of another IP family than peerAddress %v, so it is not used; give an address of the same family", c.SourceAddress, c.Address)
		out.Source = netip.Addr{}
	}
	if err := out.validate(); err != nil {
		p.problem(c.Object, true, "spec", "there can be no session with this peer: %v", err)
		return out, false
	}
	if other := p.ends[out.end()]; other != "" {
		p.problem(c.Object, true, "spec.peerAddress", "peer %s has the same address or interface; leave one of them out", other)
		return out, false
	}
	p.ends[out.end()] = c.Name
	out.Routes = p.routes(c, &out)
	return out, true
}

// usable tells whether the peer is one that a speaker can have.
func (p *planner) usable(c *config.Peer) bool {
	switch {
	case c.VRF != "":
		p.problem(c.Object, true, "spec.vrf", "sessions in a VRF are not supported, and to have this one outside of it would be wrong; leave vrf out")
	case !c.Address.IsValid() && c.Interface == "":
		p.problem(c.Object, true, "spec.peerAddress", "the peer has neither an address nor an interface; give it one of them")
	case c.Address.IsValid() && c.Interface != "":
		p.problem(c.Object, true, "spec.interface", "the peer has an address as well; leave one of them out")
	default:
		return true
	}
	return false
}

// asns takes the AS numbers over: localASN replaces the node's own in this session.
func (p *planner) asns(c *config.Peer, out *Peer) bool {
	if c.MyASN == 0 {
		p.problem(c.Object, true, "spec.myASN", "the node's own AS number is missing; a private one is 64512 to 65534")
		return false
	}
	if c.LocalASN != 0 {
		out.LocalASN = c.LocalASN
	}
	switch {
	case c.DynamicASN == "internal":
		out.PeerASN = out.LocalASN
	case c.DynamicASN == "external":
		out.PeerASN = 0
	case c.DynamicASN != "":
		p.problem(c.Object, true, "spec.dynamicASN", "%q is unknown; give internal or external", c.DynamicASN)
		return false
	case c.PeerASN == 0:
		p.problem(c.Object, true, "spec.peerASN", "the router's AS number is missing; give peerASN or dynamicASN")
		return false
	}
	return true
}

func (p *planner) password(c *config.Peer, out *Peer) bool {
	if c.PasswordSecret != "" {
		password, ok := p.in.Passwords[c.PasswordSecret]
		if !ok || password == "" {
			p.problem(c.Object, true, "spec.passwordSecret", "Secret %s/%s is missing, or is not of type kubernetes.io/basic-auth with a password; there is no session without the password", config.Namespace, c.PasswordSecret)
			return false
		}
		out.Password = password
	}
	if len(out.Password) > maxPassword {
		p.problem(c.Object, true, "spec.password", "the password has %d bytes, and TCP's MD5 option takes %d at most; choose a shorter one on both ends", len(out.Password), maxPassword)
		return false
	}
	return true
}

// times takes the timers over, which BGP counts in seconds.
func (p *planner) times(c *config.Peer, out *Peer) {
	hold := c.HoldTime
	switch {
	case hold == 0:
		p.problem(c.Object, false, "spec.holdTime", "a session without a hold time is not supported, so %v is used; leave the field out, or give 3 s to 65535 s", defaultHold)
	case hold < 0, hold > 0 && hold < minHold, hold > maxTime:
		p.problem(c.Object, false, "spec.holdTime", "%v is out of range, so %v is used; give 3 s to 65535 s", hold, defaultHold)
	default:
		out.HoldTime = p.whole(c, "spec.holdTime", hold)
	}
	inForce := out.HoldTime
	if inForce == 0 {
		inForce = defaultHold
	}
	switch keep := c.KeepaliveTime; {
	case keep < 0, keep > inForce:
		p.problem(c.Object, false, "spec.keepaliveTime", "%v is out of range, so a third of the hold time is used; give less than the hold time, %v", keep, inForce)
	default:
		out.KeepaliveTime = p.whole(c, "spec.keepaliveTime", keep)
	}
	switch connect := c.ConnectTime; {
	case connect < 0, connect > maxTime:
		p.problem(c.Object, false, "spec.connectTime", "%v is out of range, so %v is used; give 1 s to 65535 s", connect, defaultConnect)
	default:
		out.ConnectTime = p.whole(c, "spec.connectTime", connect)
	}
}

// whole rounds a time up to whole seconds.
func (p *planner) whole(c *config.Peer, field string, d time.Duration) time.Duration {
	rest := d % time.Second
	if rest == 0 {
		return d
	}
	d += time.Second - rest
	p.problem(c.Object, false, field, "BGP counts in seconds, so %v is used; give whole seconds", d)
	return d
}

func (p *planner) bfd(c *config.Peer, out *Peer) {
	if c.BFDProfile == "" {
		return
	}
	i := slices.IndexFunc(p.in.Profiles, func(b config.BFDProfile) bool { return b.Name == c.BFDProfile })
	if i < 0 {
		p.problem(c.Object, false, "spec.bfdProfile", "there is no BFDProfile %s, so the path is not probed; create it, or leave bfdProfile out", c.BFDProfile)
		return
	}
	b := &p.in.Profiles[i]
	out.BFD = &BFD{
		Receive:    p.interval(b, "spec.receiveInterval", b.ReceiveInterval),
		Transmit:   p.interval(b, "spec.transmitInterval", b.TransmitInterval),
		Multiplier: b.DetectMultiplier, Passive: b.Passive, MinimumTTL: b.MinimumTTL,
	}
	if out.BFD.Multiplier == 0 {
		out.BFD.Multiplier = defaultMultiplier
	}
}

// What a BFDProfile has where it says nothing, as MetalLB's.
const (
	defaultBFD        = 300 * time.Millisecond
	defaultMultiplier = 3
)

func (p *planner) interval(b *config.BFDProfile, field string, d time.Duration) time.Duration {
	if d == 0 {
		return defaultBFD
	}
	if d < minBFD || d > maxBFD {
		p.problem(b.Object, false, field, "%v is out of range, so %v is used; give 10 ms to 60 s", d, defaultBFD)
		return defaultBFD
	}
	return d
}
