package announce

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// upTo runs a schedule and writes down what it does with which address at which millisecond.
func upTo(s *schedule, from, to time.Duration) string {
	var out []string
	start := time.Unix(0, 0)
	for {
		at, ok := s.next()
		if !ok || at.After(start.Add(to)) {
			return strings.Join(out, " ")
		}
		now := at
		if earliest := start.Add(from); now.Before(earliest) {
			now = earliest
		}
		a, step, ok := s.due(now)
		if !ok {
			return strings.Join(append(out, "nothing due"), " ")
		}
		out = append(out, fmt.Sprintf("%s%s@%d", []string{"announce", "probe", "try", "free"}[step], a.String()[strings.LastIndexByte(a.String(), '.'):], now.Sub(start).Milliseconds()))
	}
}

func TestSchedule(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	zero := time.Unix(0, 0)
	s := newSchedule()
	check := func(what string, from, to time.Duration, want string) {
		t.Helper()
		if got := upTo(s, from, to); got != want {
			t.Errorf("%s: %s\nwant %s", what, got, want)
		}
	}
	check("nothing", 0, time.Hour, "")
	s.announce(a, zero)
	check("an address that came", 0, 20*time.Second, "announce.1@0 announce.1@100 announce.1@1100 announce.1@2200")
	s.announce(b, zero.Add(20*time.Second))
	s.remove(b)
	check("one that went at once", 20*time.Second, 25*time.Second, "")
	later := upTo(s, 0, 10*time.Minute)
	if n := strings.Count(later, "announce.1"); n < 9 || n > 20 {
		t.Errorf("%d announcements in ten minutes: %s", n, later)
	}
	s.remove(a)
	s.remove(a)
	check("none left", 0, time.Hour, "")

	s.probe(a, zero)
	check("one that is new", 0, 500*time.Millisecond, "probe.1@0 probe.1@5 try.1@10 probe.1@75 probe.1@145 free.1@215 announce.1@215 announce.1@315")
	s.probe(a, zero)
	check("one that somebody has", 0, 70*time.Millisecond, "probe.1@0 probe.1@5 try.1@10")
	s.hold(a, zero.Add(70*time.Millisecond))
	check("that is held", 70*time.Millisecond, 30*time.Second, "")
	check("and asked for again", 30*time.Second, 30300*time.Millisecond, "probe.1@30070 probe.1@30075 try.1@30080 probe.1@30145 probe.1@30215 free.1@30285 announce.1@30285")

	s = newSchedule()
	s.refresh(a, zero)
	check("one taken over", 0, 29*time.Second, "")
	s.defend(a, zero.Add(29*time.Second))
	s.defend(b, zero.Add(29*time.Second))
	check("a claim", 29*time.Second, 32*time.Second, "announce.1@29000 announce.1@29100 announce.1@30100 announce.1@31200")
	s.defend(a, zero.Add(38*time.Second))
	check("another one", 38*time.Second, 39*time.Second, "")
	s.defend(a, zero.Add(40*time.Second))
	check("another one later", 40*time.Second, 41*time.Second, "announce.1@40000 announce.1@40100")
}

// TestScheduleSpreads has many addresses come at once. Later announcements must not stay together.
func TestScheduleSpreads(t *testing.T) {
	s := newSchedule()
	zero := time.Unix(0, 0)
	a := netip.MustParseAddr("192.0.2.0")
	for range 200 {
		s.announce(a, zero)
		a = a.Next()
	}
	upTo(s, 0, 3*time.Second)
	perSecond := map[time.Duration]int{}
	for {
		at, _ := s.next()
		if at.After(zero.Add(70 * time.Second)) {
			break
		}
		s.due(at)
		perSecond[at.Sub(zero).Truncate(time.Second)]++
	}
	var counts []int
	for _, n := range perSecond {
		counts = append(counts, n)
	}
	if len(counts) < 20 || slices.Max(counts) > 40 {
		t.Errorf("200 announcements in %d seconds, up to %d in one", len(counts), slices.Max(counts))
	}
}
