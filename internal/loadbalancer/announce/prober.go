package announce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// The magic numbers of a probe and of its answer, which bpf/probe.h has too.
const (
	probeMagic  = 0x6d6e7031
	answerMagic = 0x6d6e6131
	probeSize   = 12
	probeTTL    = 255 // so that the other end can tell that no router is between
)

// prober sends probes to other nodes and receives the answers.
type prober struct {
	port  uint16
	conns map[bool]*net.UDPConn // by whether it is IPv6's
	// sent are the last probes to each address. A later answer is none.
	sent map[netip.Addr]*[probeMisses + 1]uint64
}

// openProber opens a socket at an address of each family.
func openProber(ctx context.Context, ns host.Netns, port uint16, addrs ...netip.Addr) (*prober, error) {
	p := &prober{port: port, conns: map[bool]*net.UDPConn{}, sent: map[netip.Addr]*[probeMisses + 1]uint64{}}
	for _, addr := range addrs {
		if !addr.IsValid() {
			continue
		}
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return setOptions(c, addr.Is6()) }}
		err := ns.Do(func() error {
			c, err := lc.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, 0).String())
			if err == nil {
				p.conns[addr.Is6()] = c.(*net.UDPConn)
			}
			return err
		})
		if err != nil {
			p.close()
			return nil, fmt.Errorf("open socket for liveness probes at %s: %w", addr, err)
		}
	}
	return p, nil
}

// setOptions sets the TTL, and allows an address that the node has only soon, as while it is checked for duplicates.
func setOptions(c syscall.RawConn, ipv6 bool) (err error) {
	level, ttl, free := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_FREEBIND
	if ipv6 {
		level, ttl, free = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_FREEBIND
	}
	e := c.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), level, ttl, probeTTL), unix.SetsockoptInt(int(fd), level, free, 1))
	})
	return errors.Join(e, err)
}

func (p *prober) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

// send sends a probe. That it can't be sent is as if there were no answer.
func (p *prober) send(to netip.Addr) {
	c := p.conns[to.Is6()]
	if c == nil {
		return
	}
	nonces := p.sent[to]
	if nonces == nil {
		nonces = new([probeMisses + 1]uint64)
		p.sent[to] = nonces
	}
	copy(nonces[1:], nonces[:])
	nonces[0] = rand.Uint64()
	b := binary.BigEndian.AppendUint32(nil, probeMagic)
	_, _ = c.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(b, nonces[0]), netip.AddrPortFrom(to, p.port))
}

// forget drops what was sent to those who are not probed any more.
func (p *prober) forget(probed map[netip.Addr]string) {
	if len(p.sent) == len(probed) {
		return
	}
	for addr := range p.sent {
		if _, ok := probed[addr]; !ok {
			delete(p.sent, addr)
		}
	}
}

// reply is an answer as it came.
type reply struct {
	from  netip.Addr
	nonce uint64
}

// known tells whether a reply is to one of the last probes.
func (p *prober) known(r reply) bool {
	nonces := p.sent[r.from]
	if nonces == nil || r.nonce == 0 {
		return false
	}
	for _, n := range nonces {
		if n == r.nonce {
			return true
		}
	}
	return false
}

// received returns the answers that have come since the last call, without waiting. Nobody waits for them: whoever counts
// who has not answered reads all answers first, so that a process that gets little time finds nobody dead because of that.
func (p *prober) received() (out []reply, err error) {
	for _, c := range p.conns {
		raw, e := c.SyscallConn()
		if e == nil {
			e = raw.Read(func(fd uintptr) bool {
				out, err = receive(int(fd), p.port, out)
				return true
			})
		}
		if errors.Is(e, net.ErrClosed) {
			return nil, nil // the run ends
		}
		if err = errors.Join(e, err); err != nil {
			return nil, fmt.Errorf("read answers to liveness probes: %w", err)
		}
	}
	return out, nil
}

// receive appends the answers that a socket has.
func receive(fd int, port uint16, to []reply) ([]reply, error) {
	b := make([]byte, 64)
	for {
		n, from, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return to, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return to, err
		}
		sender := addrPortOf(from)
		if n == probeSize && binary.BigEndian.Uint32(b) == answerMagic && sender.Port() == port {
			to = append(to, reply{from: sender.Addr(), nonce: binary.BigEndian.Uint64(b[4:])})
		}
	}
}

func addrPortOf(from unix.Sockaddr) netip.AddrPort {
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(from.Addr), uint16(from.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(from.Addr).Unmap(), uint16(from.Port))
	}
	return netip.AddrPort{}
}
