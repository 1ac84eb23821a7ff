package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// claim is an answer to the question who has an address.
type claim struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
	At      time.Time  `json:"at"`
}

// prober asks by ARP who has addresses.
type prober struct {
	link *net.Interface
	from netip.Addr
	fd   int
	say  func(any) error

	mu       sync.Mutex
	collects bool
	claims   []claim             // while it collects
	awaited  map[netip.Addr]bool // without an answer yet
	order    []netip.Addr        // of those, the next to ask about first; some may have been answered since
	wake     chan struct{}       // there is something to ask about
}

func newProber(link string, say func(any) error) (*prober, error) {
	p := &prober{say: say, awaited: map[netip.Addr]bool{}, wake: make(chan struct{}, 1)}
	var err error
	if p.link, err = net.InterfaceByName(link); err != nil {
		return nil, err
	}
	addresses, err := p.link.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			p.from = prefix.Addr()
		}
	}
	if !p.from.IsValid() {
		return nil, fmt.Errorf("%s has no IPv4 address to ask from", link)
	}
	if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ARP))); err != nil {
		return nil, fmt.Errorf("open a socket for ARP: %w", err)
	}
	if err := unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: p.link.Index}); err != nil {
		return nil, fmt.Errorf("bind a socket for ARP: %w", err)
	}
	go p.read()
	go p.repeat()
	return p, nil
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

const arpSize = 28

// question is an ARP request.
func question(mac net.HardwareAddr, from, about netip.Addr) []byte {
	b := make([]byte, 0, arpSize)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
	b = append(b, mac...)
	b = append(b, from.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, about.AsSlice()...)
}

// answerIn reads an ARP answer; ok is false for anything else.
func answerIn(b []byte) (c claim, ok bool) {
	if len(b) < arpSize || !bytes.Equal(b[:8], []byte{0, 1, 8, 0, 6, 4, 0, 2}) {
		return c, false
	}
	return claim{Address: netip.AddrFrom4([4]byte(b[14:18])), MAC: net.HardwareAddr(b[8:14]).String()}, true
}

func (p *prober) send(about netip.Addr) error {
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: p.link.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	return unix.Sendto(p.fd, question(p.link.HardwareAddr, p.from, about), 0, to)
}

func (p *prober) read() {
	b := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(p.fd, b, 0)
		if err != nil {
			continue // a signal, or the link was down
		}
		c, ok := answerIn(b[:n])
		if !ok {
			continue
		}
		c.At = time.Now()
		p.mu.Lock()
		if p.collects {
			p.claims = append(p.claims, c)
		}
		first := p.awaited[c.Address]
		delete(p.awaited, c.Address)
		p.mu.Unlock()
		if first {
			_ = p.say(c) // if nobody listens any more, this process is about to end
		}
	}
}

// collect asks about addresses for a time and returns all answers.
func (p *prober) collect(addresses []netip.Addr, d time.Duration) []claim {
	p.mu.Lock()
	p.collects, p.claims = true, []claim{}
	p.mu.Unlock()
	const each = 100 * time.Millisecond
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(each) {
		for _, a := range addresses {
			_ = p.send(a) // what isn't sent has no answer
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.collects = false
	return p.claims
}

func (p *prober) await(addresses []netip.Addr) {
	p.mu.Lock()
	for _, a := range addresses {
		if !p.awaited[a] {
			p.awaited[a] = true
			p.order = append(p.order, a)
		}
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *prober) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.awaited)
	p.order = nil
}

// How many questions are asked at once, and how often: few enough that the asking doesn't slow down what it waits for. A
// single address is asked for more often, as it is waited for by the millisecond.
const (
	questions    = 100
	questionTime = 10 * time.Millisecond
	singleTime   = time.Millisecond
)

// repeat asks about what is awaited, in turn.
func (p *prober) repeat() {
	for {
		batch := p.next()
		for _, a := range batch {
			_ = p.send(a) // it is asked again
		}
		if len(batch) == 0 {
			<-p.wake
			continue
		}
		if len(batch) == 1 {
			time.Sleep(singleTime)
		} else {
			time.Sleep(questionTime)
		}
	}
}

// next takes addresses from the front of the queue and puts them at its end.
func (p *prober) next() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	var batch []netip.Addr
	for range len(p.order) {
		if len(batch) == questions {
			break
		}
		a := p.order[0]
		p.order = p.order[1:]
		if p.awaited[a] {
			batch = append(batch, a)
		}
	}
	p.order = append(p.order, batch...)
	return batch
}
