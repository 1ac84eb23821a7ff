package announce

import (
	"testing"
	"time"
)

// TestBusyProcess has a process with much else to do, which must not take nodes for dead that answer.
func TestBusyProcess(t *testing.T) {
	w := newWorld(t, "n1", "n2", "n3")
	for _, n := range w.nodes {
		n.apply("a", announced(v4.vip, n.name == "n1"))
	}
	for _, n := range w.nodes {
		for _, m := range w.nodes {
			if n != m {
				eventually(t, n.name+" hears "+m.name, func() bool { alive, _ := n.sees(m.name); return alive })
			}
		}
	}
	stop := make(chan struct{})
	defer close(stop)
	for range 12 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					work(5_000_000)
				}
			}
		}()
	}
	before := map[string]int32{}
	for _, n := range w.nodes {
		before[n.name] = n.views.Load()
	}
	for over := time.Now().Add(4 * time.Second); time.Now().Before(over); {
		work(5_000_000)
	}
	for _, n := range w.nodes {
		if changes := n.views.Load() - before[n.name]; changes > 0 {
			t.Errorf("%s changed its mind %d times about who is alive", n.name, changes)
		}
	}
}

// work takes a processor for some milliseconds.
func work(steps int) (sum int) {
	for i := range steps {
		sum += i * i
	}
	return sum
}
