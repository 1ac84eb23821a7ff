package bgp

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// board knows how sessions stand, from what the library tells.
type board struct {
	changed changes

	mu     sync.Mutex
	byName map[string]*standing
	names  map[netip.Addr]string // of peers, by the addresses that are dialled
}

// standing is one session on the board.
type standing struct {
	peer    *Peer      // as it was told to the library
	address netip.Addr // that is dialled; invalid while an interface's router is unknown
	state   string
	since   time.Time
	err     string
	peerASN uint32
	// families are those that both ends want: of IPv4 and of IPv6.
	v4, v6 bool
	// cause is what the library last complained of, and when.
	cause   string
	causeAt time.Time
	// unprobed is why BFD does not run although it should.
	unprobed string
}

// causeHolds is how long after a complaint the end of a session is put down to it.
const causeHolds = 2 * time.Second

func newBoard() *board {
	return &board{changed: newChanges(), byName: map[string]*standing{}, names: map[netip.Addr]string{}}
}

// put enters a peer that is new or has changed. A peer that could not be given to the library has an error.
func (b *board) put(p *Peer, address netip.Addr, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &standing{peer: p, address: address, state: "Idle", since: time.Now()}
	if err != nil {
		s.err = err.Error()
		if old := b.byName[p.Name]; old != nil && old.err == s.err {
			return
		}
	}
	b.byName[p.Name] = s
	if address.IsValid() {
		b.names[address] = p.Name
	}
	b.changed.notify()
}

// routes notes that a peer has other routes than before.
func (b *board) routes(p *Peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byName[p.Name]; s != nil {
		s.peer = p
	}
}

func (b *board) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byName[name]; s != nil {
		if s.address.IsValid() && b.names[s.address] == name {
			delete(b.names, s.address)
		}
		delete(b.byName, name)
		b.changed.notify()
	}
}

// clear removes all peers.
func (b *board) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.byName)
	clear(b.names)
	b.changed.notify()
}

// event is a change of a session's state.
type event struct {
	address netip.Addr
	state   string
	at      time.Time
	reason  string
	peerASN uint32
	v4, v6  bool
}

// note enters a change of state, and returns the peer, nil if it isn't known.
func (b *board) note(e event) *Peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.byName[b.names[e.address]]
	if s == nil {
		return nil
	}
	was := s.state
	if was != e.state {
		s.since = e.at
	}
	s.state, s.peerASN, s.v4, s.v6 = e.state, 0, false, false
	switch {
	case e.state == Established:
		s.err, s.cause, s.peerASN, s.v4, s.v6 = "", "", e.peerASN, e.v4, e.v6
	case was == Established:
		s.err = "the session ended: " + e.reason
		if s.cause != "" && e.at.Sub(s.causeAt) < causeHolds {
			s.err = s.cause
		}
	}
	if was == Established || e.state == Established {
		b.changed.notify()
	}
	return s.peer
}

// complain enters what the library says about a peer that there is no session with, or whose session is about to end.
func (b *board) complain(address netip.Addr, cause string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.byName[b.names[address]]
	if s == nil {
		return
	}
	if s.peer.Password != "" && strings.Contains(cause, "timeout") {
		cause += "; if the router can be reached otherwise, compare the passwords"
	}
	s.cause, s.causeAt = cause, time.Now()
	if s.state != Established && s.err != cause {
		s.err = cause
		b.changed.notify()
	}
}

// unprobed notes why the path to a peer is not probed.
func (b *board) unprobed(name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byName[name]; s != nil {
		s.unprobed = err.Error()
	}
}

// established tells whether a peer's session is.
func (b *board) established(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.byName[name]
	return s != nil && s.state == Established
}

// sessions lists what is on the board, by name, with the peers' addresses.
func (b *board) sessions() ([]Session, []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Session, 0, len(b.byName))
	for name, s := range b.byName {
		x := Session{
			Peer: name, Address: s.label(), State: s.state, Since: s.since, Error: s.err, PeerASN: s.peerASN, Advertised: s.advertised(),
		}
		if s.peer.BFD != nil {
			x.BFD = &BFDSession{Error: s.unprobed}
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(x, y Session) int { return strings.Compare(x.Peer, y.Peer) })
	addresses := make([]netip.Addr, len(list))
	for i := range list {
		addresses[i] = b.byName[list[i].Peer].address
	}
	return list, addresses
}

// label is the peer's address and port, or its interface.
func (s *standing) label() string { return s.peer.label(s.address) }

func (p *Peer) label(address netip.Addr) string {
	if !address.IsValid() {
		address = p.Address
	}
	if !address.IsValid() {
		return p.Interface
	}
	return netip.AddrPortFrom(address, p.Port).String()
}

// advertised lists the prefixes that the peer has been told.
func (s *standing) advertised() []netip.Prefix {
	if s.state != Established {
		return nil
	}
	var list []netip.Prefix
	for _, r := range s.peer.Routes {
		if v4 := r.Prefix.Addr().Is4(); v4 && s.v4 || !v4 && s.v6 {
			list = append(list, r.Prefix)
		}
	}
	slices.SortFunc(list, comparePrefixes)
	return list
}

// comparePrefixes orders prefixes by address, IPv4 first, then by length.
func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
