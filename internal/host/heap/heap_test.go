package heap

import (
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake records what was set.
type fake struct {
	percents         []int
	inUse, available int64
}

func newFake() (*pacer, *fake) {
	f := &fake{inUse: 100 << 20, available: 8 << 30}
	return &pacer{
		set: func(percent int) int {
			before := 100
			if n := len(f.percents); n > 0 {
				before = f.percents[n-1]
			}
			f.percents = append(f.percents, percent)
			return before
		},
		memory: func() (int64, int64) { return f.inUse, f.available },
	}, f
}

func TestPaceFollowsTheWork(t *testing.T) {
	p, f := newFake()
	start := time.Unix(1000, 0)
	p.begin()
	p.collected(start)
	p.collected(start.Add(10 * time.Second)) // now and then: idle
	if diff := cmp.Diff([]int{calmPercent}, f.percents); diff != "" {
		t.Fatal(diff)
	}
	p.collected(start.Add(11 * time.Second))
	p.collected(start.Add(14 * time.Second)) // further apart, since more garbage may pile up
	if diff := cmp.Diff([]int{calmPercent, busyPercent}, f.percents); diff != "" {
		t.Fatal(diff)
	}
	p.calm.Stop()
	p.rest()
	p.collected(start.Add(30 * time.Second))
	if diff := cmp.Diff([]int{calmPercent, busyPercent, calmPercent}, f.percents); diff != "" {
		t.Fatal(diff)
	}
}

// A start is a start, however often its heap is collected, and what holds
// afterwards is what would have held without it.
func TestRelax(t *testing.T) {
	for name, tc := range map[string]struct {
		paced bool
		want  []int
	}{
		"paced":     {true, []int{calmPercent, startPercent, startPercent, calmPercent}},
		"not paced": {false, []int{startPercent, startPercent, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := newFake()
			if tc.paced {
				p.begin()
			}
			first, second := p.relax(), p.relax()
			p.collected(time.Unix(1000, 0))
			p.collected(time.Unix(1000, 1))
			first()
			second()
			if diff := cmp.Diff(tc.want, f.percents); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAffordable(t *testing.T) {
	for _, tc := range []struct {
		inUse, available int64
		want             int
	}{
		{100 << 20, 16 << 30, busyPercent},
		{512 << 20, 16 << 30, calmPercent + 50},
		{200 << 20, 400 << 20, calmPercent + 50},
		{200 << 20, 0, calmPercent},
		{0, 1 << 30, busyPercent},
	} {
		if got := affordable(tc.inUse, tc.available); got != tc.want {
			t.Errorf("affordable(%d, %d) = %d, want %d", tc.inUse, tc.available, got, tc.want)
		}
	}
}

func TestEachCollection(t *testing.T) {
	heard := make(chan struct{}, 1)
	eachCollection(func() {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	for range 3 {
		runtime.GC()
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was heard of a collection within 10s")
		}
	}
}

func TestMemory(t *testing.T) {
	if inUse, available := memory(); inUse <= 0 || available <= 0 {
		t.Errorf("memory() = %d, %d", inUse, available)
	}
}
