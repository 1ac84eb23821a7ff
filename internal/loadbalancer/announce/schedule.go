package announce

import (
	"container/heap"
	"hash/fnv"
	"net/netip"
	"time"
)

// When gratuitous packets are sent after an address came here: several times, because each may be lost, and because some
// systems ignore a change within a second of the last one.
var announceAfter = [...]time.Duration{0, 100 * time.Millisecond, 1100 * time.Millisecond, 2200 * time.Millisecond}

const (
	// repeatAfter is the least time between later ones. Addresses are spread over twice that time.
	repeatAfter = 30 * time.Second
	// An address is asked for firstProbes times before it is answered at all: who has it and is awake says so at once. Then
	// it is answered on trial, and asked for again until probes. Only if nobody has claimed it by then it is announced, so
	// that no neighbour is told away from somebody who is slow to answer.
	firstProbes    = 2
	firstProbeEach = 5 * time.Millisecond
	probes         = 4
	probeEach      = 70 * time.Millisecond
	probeAgain     = 30 * time.Second
	defendAtMost   = 10 * time.Second
)

// step is what is done next with an address.
type step uint8

const (
	announceStep step = iota
	probeStep
	// tryStep says that nobody answered the first probes.
	tryStep
	// freeStep says that nobody answered the probes.
	freeStep
)

// schedule says when to send which packets. It reads no clock.
type schedule struct {
	queue queue
	items map[netip.Addr]*item
}

type item struct {
	addr  netip.Addr
	at    time.Time
	step  step
	count int // how often the step was done
	place int
	// defended is when the address was last announced because of a stranger's claim.
	defended time.Time
}

func newSchedule() *schedule { return &schedule{items: map[netip.Addr]*item{}} }

func (s *schedule) set(a netip.Addr, step step, count int, at time.Time) {
	it := s.items[a]
	if it == nil {
		it = &item{addr: a, place: -1}
		s.items[a] = it
	}
	it.step, it.count, it.at = step, count, at
	if it.place < 0 {
		heap.Push(&s.queue, it)
	} else {
		heap.Fix(&s.queue, it.place)
	}
}

// announce begins the announcements of an address.
func (s *schedule) announce(a netip.Addr, now time.Time) { s.set(a, announceStep, 0, now) }

// refresh goes on with announcements that another process began.
func (s *schedule) refresh(a netip.Addr, now time.Time) {
	s.set(a, announceStep, len(announceAfter), now.Add(repeat(a)))
}

// probe begins to ask for an address.
func (s *schedule) probe(a netip.Addr, now time.Time) { s.set(a, probeStep, 0, now) }

// hold asks for an address later, because somebody has it.
func (s *schedule) hold(a netip.Addr, now time.Time) { s.set(a, probeStep, 0, now.Add(probeAgain)) }

// defend announces an address against a stranger's claim, unless that was done just now: two that insist must not fill the
// network.
func (s *schedule) defend(a netip.Addr, now time.Time) {
	it := s.items[a]
	if it == nil || it.step != announceStep || now.Sub(it.defended) < defendAtMost {
		return
	}
	it.defended = now
	s.announce(a, now)
}

func (s *schedule) remove(a netip.Addr) {
	it := s.items[a]
	if it == nil {
		return
	}
	heap.Remove(&s.queue, it.place)
	delete(s.items, a)
}

// next is the time of the first thing to do; ok is false if there is nothing.
func (s *schedule) next() (at time.Time, ok bool) {
	if len(s.queue) == 0 {
		return time.Time{}, false
	}
	return s.queue[0].at, true
}

// due returns one thing that is to be done by now, and plans what follows it.
func (s *schedule) due(now time.Time) (a netip.Addr, done step, ok bool) {
	at, ok := s.next()
	if !ok || at.After(now) {
		return a, done, false
	}
	it := s.queue[0]
	a, done = it.addr, it.step
	it.count++
	switch {
	case it.step == probeStep && it.count < firstProbes:
		s.set(a, probeStep, it.count, now.Add(firstProbeEach))
	case it.step == probeStep && it.count == firstProbes:
		s.set(a, tryStep, it.count, now.Add(firstProbeEach))
	case it.step == tryStep:
		s.set(a, probeStep, firstProbes, now.Add(probeEach-firstProbeEach))
	case it.step == probeStep && it.count < probes:
		s.set(a, probeStep, it.count, now.Add(probeEach))
	case it.step == probeStep:
		s.set(a, freeStep, 0, now.Add(probeEach))
	case it.step == freeStep:
		s.announce(a, now)
	case it.count < len(announceAfter):
		s.set(a, announceStep, it.count, now.Add(announceAfter[it.count]-announceAfter[it.count-1]))
	default:
		s.set(a, announceStep, it.count, now.Add(repeat(a)))
	}
	return a, done, true
}

// repeat is the time between announcements of an address, between one and two times repeatAfter, so that those of many
// addresses that came at once don't stay together.
func repeat(a netip.Addr) time.Duration {
	h := fnv.New32a()
	h.Write(a.AsSlice())
	return repeatAfter + time.Duration(h.Sum32()%uint32(repeatAfter/time.Millisecond))*time.Millisecond
}

// queue is a heap of items, the earliest first.
type queue []*item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	it := x.(*item)
	it.place = len(*q)
	*q = append(*q, it)
}

func (q *queue) Pop() any {
	old := *q
	it := old[len(old)-1]
	it.place = -1
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return it
}
