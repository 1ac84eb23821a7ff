package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Event says that a path has come up or gone down.
type Event struct {
	Address netip.Addr
	Up      bool
	// Failure says why a path went down; it is empty where the router's BFD was told to stop, which says nothing about
	// the path.
	Failure string
}

// Config is what a Prober needs.
type Config struct {
	Logger *slog.Logger
	// Changed is called after each change, on a goroutine of the path's own: it may call the Prober, but for that path's
	// Remove.
	Changed func(Event)
}

// Prober probes the paths to routers, from the network namespace that the process is in. What Add starts, Remove or Close
// ends.
type Prober struct {
	log     *slog.Logger
	changed func(Event)

	mu       sync.Mutex
	sessions map[netip.Addr]*running
	sockets  map[end]net.PacketConn
	readers  sync.WaitGroup
}

// end is where packets are received.
type end struct {
	v4       bool
	multiHop bool
}

type running struct {
	*session
	cancel context.CancelFunc
	done   chan struct{}
}

// New returns a Prober.
func New(c Config) (*Prober, error) {
	if c.Logger == nil || c.Changed == nil {
		return nil, errors.New("BFD: a logger or the receiver of changes is missing")
	}
	return &Prober{log: c.Logger, changed: c.Changed, sessions: map[netip.Addr]*running{}, sockets: map[end]net.PacketConn{}}, nil
}

// Add begins to probe the path to a router.
func (p *Prober) Add(peer Peer) error {
	if !peer.Address.IsValid() || peer.Timing.Multiplier == 0 || peer.Timing.Receive <= 0 || peer.Timing.Transmit <= 0 {
		return fmt.Errorf("BFD to %v: an address, two intervals and a multiplier are needed", peer.Address)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[peer.Address] != nil {
		return fmt.Errorf("BFD to %v: it runs already", peer.Address)
	}
	if err := p.listen(end{peer.Address.Is4(), peer.MultiHop}); err != nil {
		return fmt.Errorf("BFD to %v: %w", peer.Address, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{session: newSession(peer, p.discriminator(), p.changed), cancel: cancel, done: make(chan struct{})}
	p.sessions[peer.Address] = r
	go func() {
		defer close(r.done)
		r.run(ctx)
	}()
	return nil
}

// discriminator returns a number that no other session has.
func (p *Prober) discriminator() uint32 {
	for {
		n := rand.Uint32()
		taken := n == 0
		for _, r := range p.sessions {
			taken = taken || r.machine.mine == n
		}
		if !taken {
			return n
		}
	}
}

// Remove ends the probing of a path; it is no error if there is none.
func (p *Prober) Remove(address netip.Addr) {
	p.mu.Lock()
	r := p.sessions[address]
	delete(p.sessions, address)
	p.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
}

// Close ends all.
func (p *Prober) Close() {
	p.mu.Lock()
	all, sockets := p.sessions, p.sockets
	p.sessions, p.sockets = map[netip.Addr]*running{}, map[end]net.PacketConn{}
	p.mu.Unlock()
	for _, r := range all {
		r.cancel()
	}
	for _, r := range all {
		<-r.done
	}
	for _, c := range sockets {
		c.Close()
	}
	p.readers.Wait()
}

// Status is how a path stands.
type Status struct {
	Up             bool
	Sent, Received uint64
}

// Status tells how the path to a router stands; ok is false if it isn't probed.
func (p *Prober) Status(address netip.Addr) (s Status, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.sessions[address]
	if r == nil {
		return Status{}, false
	}
	return Status{Up: r.up.Load(), Sent: r.sent.Load(), Received: r.received.Load()}, true
}

// listen opens the socket for packets of some kind, if it isn't open.
func (p *Prober) listen(e end) error {
	if p.sockets[e] != nil {
		return nil
	}
	network, number := "udp6", port
	if e.v4 {
		network = "udp4"
	}
	if e.multiHop {
		number = multiHopPort
	}
	c, err := net.ListenPacket(network, ":"+strconv.Itoa(number))
	if err != nil {
		return fmt.Errorf("its port is taken; end the other program that uses BFD, or leave bfdProfile out: %w", err)
	}
	read, err := reader(c, e.v4)
	if err != nil {
		c.Close()
		return fmt.Errorf("have the kernel tell hop limits: %w", err)
	}
	p.sockets[e] = c
	p.readers.Add(1)
	go func() {
		defer p.readers.Done()
		p.read(read, e.multiHop)
	}()
	return nil
}

// readFunc reads a packet, and tells who sent it and with which hop limit it came.
type readFunc func(b []byte) (n, ttl int, from netip.Addr, err error)

func reader(c net.PacketConn, v4 bool) (readFunc, error) {
	if v4 {
		conn := ipv4.NewPacketConn(c)
		return func(b []byte) (int, int, netip.Addr, error) {
			n, cm, from, err := conn.ReadFrom(b)
			if err != nil || cm == nil {
				return 0, 0, netip.Addr{}, err
			}
			return n, cm.TTL, sender(from), nil
		}, conn.SetControlMessage(ipv4.FlagTTL, true)
	}
	conn := ipv6.NewPacketConn(c)
	return func(b []byte) (int, int, netip.Addr, error) {
		n, cm, from, err := conn.ReadFrom(b)
		if err != nil || cm == nil {
			return 0, 0, netip.Addr{}, err
		}
		return n, cm.HopLimit, sender(from), nil
	}, conn.SetControlMessage(ipv6.FlagHopLimit, true)
}

func sender(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// read hands packets to their sessions until the socket is closed.
func (p *Prober) read(read readFunc, multiHop bool) {
	b := make([]byte, 512)
	for {
		n, ttl, from, err := read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one packet
		}
		p.deliver(b[:n], ttl, from, multiHop)
	}
}

func (p *Prober) deliver(b []byte, ttl int, from netip.Addr, multiHop bool) {
	got, err := parse(b)
	if err != nil {
		return
	}
	p.mu.Lock()
	r := p.sessions[from]
	p.mu.Unlock()
	if r == nil || r.peer.MultiHop != multiHop || ttl < r.peer.leastTTL() {
		return
	}
	select {
	case r.inbox <- got:
	default: // as if the network had lost it
	}
}

// leastTTL is what a packet has to have: one that has passed more routers than it may come from anybody.
func (p *Peer) leastTTL() int {
	switch {
	case !p.MultiHop:
		return ownTTL
	case p.MinimumTTL == 0:
		return multiHopTTL
	default:
		return int(p.MinimumTTL)
	}
}
