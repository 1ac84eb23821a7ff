package bfd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Peer is a router whose path is probed.
type Peer struct {
	// Address is the router's, with a zone if it is link-local.
	Address netip.Addr
	// Source is the address to send from; invalid for the route's.
	Source netip.Addr
	// Interface, if it is set, is the only one that packets leave by.
	Interface string
	// MultiHop says that other routers are between.
	MultiHop bool
	// MinimumTTL is the least that packets may have if MultiHop is set; 0 is 254, as MetalLB has it.
	MinimumTTL uint8
	// Passive sends nothing before the router does.
	Passive bool
	Timing  Timing
}

// Ports and hop limits of RFC 5881 and RFC 5883.
const (
	port         = 3784
	multiHopPort = 4784
	firstSource  = 49152
	ownTTL       = 255
	multiHopTTL  = 254 // at least, where nothing else is configured
)

// session is one path that is probed.
type session struct {
	peer    Peer
	machine *machine
	conn    net.Conn // nil until there is a route
	inbox   chan packet
	notify  func(Event)

	up             atomic.Bool
	sent, received atomic.Uint64
}

// inboxSize is how many packets may wait; more than that can be lost.
const inboxSize = 16

func newSession(p Peer, discriminator uint32, notify func(Event)) *session {
	return &session{peer: p, machine: newMachine(p.Timing, discriminator), inbox: make(chan packet, inboxSize), notify: notify}
}

// run probes until ctx ends; then it says that nothing more is to be expected, which is no failure.
func (s *session) run(ctx context.Context) {
	transmit, detect := time.NewTimer(0), time.NewTimer(0)
	detect.Stop()
	defer transmit.Stop()
	defer detect.Stop()
	defer s.leave()
	for {
		var o outcome
		reason := ""
		select {
		case <-ctx.Done():
			return
		case p := <-s.inbox:
			var ok bool
			if o, ok = s.machine.receive(p); !ok {
				continue
			}
			s.received.Add(1)
			reason = "the router's BFD says that the path is down"
			if o.answer {
				s.send(s.machine.final())
			}
			detect.Reset(s.machine.detection())
		case <-detect.C:
			reason = fmt.Sprintf("BFD has heard nothing from the router for %v", s.machine.detection())
			o = s.machine.expire()
		case <-transmit.C:
			s.transmit(transmit)
		}
		if o.send {
			s.transmit(transmit)
		}
		if o.changed {
			s.changed(o, reason)
		}
	}
}

func (s *session) changed(o outcome, reason string) {
	up := s.machine.state == Up
	if s.up.Swap(up) == up {
		return
	}
	if !o.failed {
		reason = ""
	}
	s.notify(Event{Address: s.peer.Address, Up: up, Failure: reason})
}

// transmit sends the next packet, and sets the timer for the one after.
func (s *session) transmit(timer *time.Timer) {
	interval := s.machine.interval()
	if interval == 0 || s.peer.Passive && !s.machine.heard {
		timer.Reset(slow) // to look again
		return
	}
	s.send(s.machine.packet())
	off := interval / 4
	if s.machine.timing.Multiplier == 1 { // then a packet must not come late
		off = interval * 15 / 100
		interval -= interval / 10
	}
	timer.Reset(interval - rand.N(off+1))
}

func (s *session) send(p packet) {
	if s.conn == nil && s.dial() != nil {
		return // there may be a route later
	}
	if _, err := s.conn.Write(p.bytes()); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		s.hangUp()
		return
	}
	s.sent.Add(1)
}

func (s *session) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// leave tells the other end that this one has been told to stop. A packet may get lost, so there are three.
func (s *session) leave() {
	s.machine.enter(AdminDown, administratively)
	for range 3 {
		s.send(s.machine.packet())
	}
	s.hangUp()
}

func (s *session) dial() error {
	to := port
	if s.peer.MultiHop {
		to = multiHopPort
	}
	d := net.Dialer{
		LocalAddr: &net.UDPAddr{IP: s.peer.Source.AsSlice(), Zone: s.peer.Source.Zone(), Port: firstSource + rand.IntN(65536-firstSource)},
		Control:   s.bind,
	}
	conn, err := d.Dial("udp", netip.AddrPortFrom(s.peer.Address, uint16(to)).String())
	if err != nil {
		return err
	}
	if s.peer.Address.Is4() {
		err = ipv4.NewConn(conn).SetTTL(ownTTL)
	} else {
		err = ipv6.NewConn(conn).SetHopLimit(ownTTL)
	}
	if err != nil {
		conn.Close()
		return err
	}
	s.conn = conn
	return nil
}

// bind ties the socket to the interface.
func (s *session) bind(_, _ string, c syscall.RawConn) error {
	if s.peer.Interface == "" {
		return nil
	}
	var inner error
	err := c.Control(func(fd uintptr) {
		inner = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, s.peer.Interface)
	})
	if err == nil {
		err = inner
	}
	return err
}
