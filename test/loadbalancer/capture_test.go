package loadbalancer

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minato/internal/host"
	"minato/test/lab"
)

// askEvery is the time between two questions of a capture.
const askEvery = 10 * time.Millisecond

// capture asks who has an address, again and again, and sees at the ports of the LAN's bridge who answers each question.
type capture struct {
	addr netip.Addr
	mac  net.HardwareAddr // of the client, who asks
	// asks is the client's socket, hears the bridge's.
	asks, hears int
	ports       map[int]string // the nodes by the interfaces of their ports
	end, done   chan struct{}
	once        sync.Once

	mu   sync.Mutex
	sent []time.Time
	// by are who answered, by question.
	by     map[int]map[string]bool
	failed error
}

// capture begins to ask, until stop.
func (w *world) capture(addr netip.Addr) *capture {
	w.Helper()
	c := &capture{addr: addr, ports: map[int]string{}, end: make(chan struct{}), done: make(chan struct{}), by: map[int]map[string]bool{}}
	open := func(ns host.Netns, link string, protocol uint16) (fd int) {
		w.Helper()
		err := ns.Do(func() (err error) {
			at := &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8}
			if link != "" {
				l, err := net.InterfaceByName(link)
				if err != nil {
					return err
				}
				at.Ifindex, c.mac = l.Index, l.HardwareAddr
			}
			if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(at.Protocol)); err != nil {
				return err
			}
			return unix.Bind(fd, at)
		})
		if err != nil {
			w.Fatal(err)
		}
		return fd
	}
	// All protocols: the bridge takes frames before who listens for one of them.
	c.hears = open(w.lan, "", unix.ETH_P_ALL)
	c.asks = open(w.client, "eth0", unix.ETH_P_ARP)
	if err := w.lan.Do(func() error {
		for i := 1; i <= nodes; i++ {
			l, err := net.InterfaceByName(port(i))
			if err != nil {
				return err
			}
			c.ports[l.Index] = w.node[i].name
		}
		return nil
	}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.stop() })
	go func() {
		defer close(c.done)
		c.run()
		unix.Close(c.asks)
		unix.Close(c.hears)
	}()
	return c
}

func (c *capture) stop() error {
	c.once.Do(func() { close(c.end) })
	<-c.done
	return c.failed
}

func (c *capture) run() {
	var next, over time.Time
	for over.IsZero() || time.Now().Before(over) {
		select {
		case <-c.end:
			if over.IsZero() {
				over = time.Now().Add(10 * askEvery) // for the last answers
			}
		default:
			if now := time.Now(); !now.Before(next) {
				if next = now.Add(askEvery); !c.ask(now) {
					return
				}
			}
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(c.hears), Events: unix.POLLIN}}, 5)
		if err != nil && err != unix.EINTR {
			c.failed = err
			return
		}
		c.listen()
	}
}

// ask asks once. The sender's address, which nobody has, is the question's number.
func (c *capture) ask(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := len(c.sent)
	c.sent = append(c.sent, now)
	frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, c.mac, []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1},
		c.mac, binary.BigEndian.AppendUint16([]byte{100, 64}, uint16(number)), make([]byte, 6), c.addr.AsSlice())
	_, err := unix.Write(c.asks, frame)
	c.failed = err
	return err == nil && number < 0xffff
}

// listen takes in what has come.
func (c *capture) listen() {
	frame := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(c.hears, frame, 0)
		if err != nil {
			return
		}
		at, ok := from.(*unix.SockaddrLinklayer)
		isReply := n >= 42 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_ARP && binary.BigEndian.Uint16(frame[20:]) == 2
		if !ok || !isReply || at.Pkttype == unix.PACKET_OUTGOING || c.ports[at.Ifindex] == "" ||
			!slices.Equal(frame[28:32], c.addr.AsSlice()) || frame[38] != 100 || frame[39] != 64 {
			continue // as what is announced without a question
		}
		number := int(binary.BigEndian.Uint16(frame[40:]))
		c.mu.Lock()
		if c.by[number] == nil {
			c.by[number] = map[string]bool{}
		}
		c.by[number][c.ports[at.Ifindex]] = true
		c.mu.Unlock()
	}
}

// now is who answered one of the last questions.
func (c *capture) now() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]bool{}
	for i := max(len(c.sent)-20, 0); i < len(c.sent); i++ {
		maps.Copy(seen, c.by[i])
	}
	return slices.Sorted(maps.Keys(seen))
}

// await waits until one node answers and no other.
func (c *capture) await(t *testing.T, name string) {
	t.Helper()
	lab.Eventually(t, name+" answers alone", func() error {
		if by := c.now(); !slices.Equal(by, []string{name}) {
			return fmt.Errorf("answered by %v", by)
		}
		return nil
	})
}

// order is who answered, one after the other. Where two answered one question, both are named.
func (c *capture) order() []string {
	var out []string
	for i := range c.sent {
		by := strings.Join(slices.Sorted(maps.Keys(c.by[i])), " and ")
		if by != "" && (len(out) == 0 || out[len(out)-1] != by) {
			out = append(out, by)
		}
	}
	return out
}

// longest is the longest time of questions that so many answered.
func (c *capture) longest(is func(answers int) bool) (most time.Duration) {
	first := -1
	for i, sent := range c.sent {
		switch {
		case !is(len(c.by[i])):
			first = -1
			continue
		case first < 0:
			first = i
		}
		most = max(most, sent.Sub(c.sent[first])+askEvery)
	}
	return most.Round(time.Millisecond)
}

func (c *capture) nobody() time.Duration { return c.longest(func(n int) bool { return n == 0 }) }
func (c *capture) two() time.Duration    { return c.longest(func(n int) bool { return n > 1 }) }
