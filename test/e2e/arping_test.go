package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

const (
	askEvery = 10 * time.Millisecond
	// answerFor is how long the last questions wait for an answer, and secondFor
	// how long for another one.
	answerFor = 500 * time.Millisecond
	secondFor = 50 * time.Millisecond
)

// arping COUNT NETNS ADDRESS [MAC]: asks who has the address on the link eth0 of
// a namespace, by ARP or by Neighbour Discovery, until one host answers each
// question, which is the one with the hardware address if one is given. It is
// written to standard output: "MAC answered for ADDRESS 3 of 3 times". With !
// nobody may answer.
//
// arping start NETNS ADDRESS...: asks for these addresses all the time, until the
// script says stop or ends.
//
// arping stop: writes the same of all answers since, and for how long at most
// nobody answered, and two did.
func arping(ts *testscript.TestScript, neg bool, args []string) {
	all := ts.Value(arpingsKey).(*arpings)
	switch {
	case !neg && len(args) > 2 && args[0] == "start":
		for _, addr := range args[2:] {
			all.running = append(all.running, all.start(ts, args[1], addr, 0))
		}
	case !neg && len(args) == 1 && args[0] == "stop":
		for _, a := range all.running {
			a.stop()
			ts.Check(a.failed)
			fmt.Fprint(ts.Stdout(), a.report())
		}
		all.running = nil
	case len(args) == 3 || len(args) == 4 && !neg:
		count, err := strconv.Atoi(args[0])
		ts.Check(err)
		deadline := time.Now().Add(eventuallyFor)
		for {
			a := all.start(ts, args[1], args[2], count)
			<-a.done
			ts.Check(a.failed)
			if neg && len(a.answers) == 0 || !neg && a.oneAnswered(args[3:]...) {
				fmt.Fprint(ts.Stdout(), a.report())
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("arping %s: after %s still\n%s", args[2], eventuallyFor, a.report())
			}
		}
	default:
		ts.Fatalf("usage: arping COUNT NETNS ADDRESS [MAC] | arping start NETNS ADDRESS... | arping stop")
	}
}

const arpingsKey = "arpings"

type arpings struct {
	running []*asking
	count   uint8
}

// asking asks for one address. Each question has a sender of its own, to which
// the answer comes back, so that it is known what each answer is to.
type asking struct {
	id   uint8 // the answers to others are seen too
	addr netip.Addr
	mac  net.HardwareAddr
	fd   int
	end  chan struct{}
	done chan struct{}
	once sync.Once

	sent    []time.Time
	answers map[uint16]map[string]bool // by question, the hardware addresses
	failed  error
}

// start asks count questions, or for 0 until stop.
func (all *arpings) start(ts *testscript.TestScript, from, addr string, count int) *asking {
	all.count++
	a := &asking{id: all.count % 64, end: make(chan struct{}), done: make(chan struct{}), answers: map[uint16]map[string]bool{}}
	var err error
	a.addr, err = netip.ParseAddr(addr)
	ts.Check(err)
	ts.Check(host.NamedNetns(from).Do(a.open))
	ts.Defer(a.stop)
	go func() {
		defer close(a.done)
		defer unix.Close(a.fd)
		a.failed = a.run(count)
	}()
	return a
}

func (a *asking) open() error {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	a.mac = link.HardwareAddr
	protocol := uint16(unix.ETH_P_ARP)
	if a.addr.Is6() {
		protocol = unix.ETH_P_IPV6
	}
	protocol = protocol<<8 | protocol>>8
	if a.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol)); err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(a.fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index}); err != nil {
		return errors.Join(fmt.Errorf("bind packet socket: %w", err), unix.Close(a.fd))
	}
	return nil
}

func (a *asking) stop() {
	a.once.Do(func() { close(a.end) })
	<-a.done
}

// run sends the questions and takes in the answers.
func (a *asking) run(count int) error {
	var next time.Time
	for !a.ends(count) {
		if now := time.Now(); !now.Before(next) {
			if err := a.ask(); err != nil {
				return err
			}
			next = now.Add(askEvery)
		}
		a.listen(time.Until(next))
	}
	for over := time.Now().Add(answerFor); time.Now().Before(over) && len(a.answers) < len(a.sent); {
		a.listen(askEvery)
	}
	for over := time.Now().Add(secondFor); time.Now().Before(over); {
		a.listen(askEvery)
	}
	return nil
}

// ends tells whether no question follows.
func (a *asking) ends(count int) bool {
	select {
	case <-a.end:
		return true
	default:
		return count > 0 && len(a.sent) == count
	}
}

func (a *asking) ask() error {
	if len(a.sent) > 0xffff {
		return errors.New("too many questions; stop earlier")
	}
	a.sent = append(a.sent, time.Now())
	// A link that is down takes nothing, and nobody answers.
	if _, err := unix.Write(a.fd, a.question(uint16(len(a.sent)-1))); err != nil && !errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// listen takes in at most one frame.
func (a *asking) listen(wait time.Duration) {
	wait = max(wait, time.Millisecond)
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}, int(wait/time.Millisecond))
	if ready == 0 || err != nil {
		return
	}
	frame := make([]byte, 2048)
	n, _, err := unix.Recvfrom(a.fd, frame, unix.MSG_DONTWAIT)
	if err != nil {
		return // as when the link goes down
	}
	if number, mac, ok := a.answer(frame[:n]); ok && int(number) < len(a.sent) {
		if a.answers[number] == nil {
			a.answers[number] = map[string]bool{}
		}
		a.answers[number][mac] = true
	}
}

// sender is the address from which a question comes, which nobody has: of
// 100.64.0.0/10, or a link-local one.
func (a *asking) sender(number uint16) []byte {
	if a.addr.Is4() {
		return binary.BigEndian.AppendUint16([]byte{100, 64 + a.id}, number)
	}
	return binary.BigEndian.AppendUint16([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe2, 0xe0, a.id}, number)
}

func (a *asking) question(number uint16) []byte {
	sender, target := a.sender(number), a.addr.AsSlice()
	if a.addr.Is4() {
		head := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, a.mac, []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1})
		return slices.Concat(head, a.mac, sender, make([]byte, 6), target)
	}
	group := append([]byte{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}, target[13:]...)
	icmp := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target, []byte{1, 1}, a.mac)
	pseudo := slices.Concat(sender, group, []byte{0, 0, 0, byte(len(icmp)), 0, 0, 0, 58}, icmp)
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(icmp[2:], ^uint16(sum))
	head := slices.Concat([]byte{0x33, 0x33}, group[12:], a.mac, []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255})
	return slices.Concat(head, sender, group, icmp)
}

// answer reads a frame: which question it is an answer to, and by whom.
func (a *asking) answer(frame []byte) (number uint16, mac string, ok bool) {
	target := a.addr.AsSlice()
	var to, whose, by []byte
	switch {
	case a.addr.Is4() && len(frame) >= 42 && frame[21] == 2:
		by, whose, to = frame[22:28], frame[28:32], frame[38:42]
	case a.addr.Is6() && len(frame) >= 86 && frame[20] == 58 && frame[54] == 136 && frame[78] == 2:
		by, whose, to = frame[80:86], frame[62:78], frame[38:54]
	default:
		return 0, "", false
	}
	number = binary.BigEndian.Uint16(to[len(to)-2:])
	if !slices.Equal(whose, target) || !slices.Equal(to, a.sender(number)) {
		return 0, "", false // as what is announced without a question
	}
	return number, net.HardwareAddr(by).String(), true
}

// counts tells how many questions each host answered.
func (a *asking) counts() map[string]int {
	count := map[string]int{}
	for _, answers := range a.answers {
		for mac := range answers {
			count[mac]++
		}
	}
	return count
}

// oneAnswered tells whether one host answered everything, of the hardware
// address if one is given.
func (a *asking) oneAnswered(mac ...string) bool {
	by := a.counts()
	for m, n := range by {
		return len(by) == 1 && n == len(a.sent) && (len(mac) == 0 || m == mac[0])
	}
	return false
}

// report tells who answered, and for how long nobody or several did.
func (a *asking) report() string {
	count := a.counts()
	var out strings.Builder
	for _, mac := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&out, "%s answered for %s %d of %d times\n", mac, a.addr, count[mac], len(a.sent))
	}
	nobody := a.longest(func(answers int) bool { return answers == 0 })
	several := a.longest(func(answers int) bool { return answers > 1 })
	fmt.Fprintf(&out, "nobody answered for %s for %s at most\ntwo answered for %s for %s at most\n", a.addr, nobody, a.addr, several)
	return out.String()
}

// longest is the longest time of questions whose number of answers is such.
func (a *asking) longest(is func(answers int) bool) (most time.Duration) {
	first := -1
	for i, sent := range a.sent {
		switch {
		case !is(len(a.answers[uint16(i)])):
			first = -1
			continue
		case first < 0:
			first = i
		}
		most = max(most, sent.Sub(a.sent[first])+askEvery)
	}
	return most.Round(time.Millisecond)
}
