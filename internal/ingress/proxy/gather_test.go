package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// written is a connection that notes what is written to it, and waits while it is held.
type written struct {
	net.Conn
	mu     sync.Mutex
	all    []byte
	writes int
	err    error
	hold   chan struct{}
	closed bool
}

func (w *written) Write(p []byte) (int, error) {
	if w.hold != nil {
		<-w.hold
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.writes++
	w.all = append(w.all, p...)
	return len(p), nil
}

func (w *written) SetWriteDeadline(time.Time) error { return nil }

func (w *written) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

func bufferPool() *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, 0, outSize); return &b }}
}

func TestGathererKeepsOrder(t *testing.T) {
	w := &written{}
	g := newGatherer(w, bufferPool(), time.Minute)
	var want []byte
	for i := range 2000 {
		p := bytes.Repeat([]byte{byte(i)}, i%300*(1+i%7*20))
		want = append(want, p...)
		if n, err := g.Write(p); n != len(p) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if !w.closed || !bytes.Equal(w.all, want) {
		t.Errorf("closed: %v; %d bytes came of %d, the same: %v", w.closed, len(w.all), len(want), bytes.Equal(w.all, want))
	}
}

func TestGathererGathers(t *testing.T) {
	w := &written{hold: make(chan struct{})}
	g := newGatherer(w, bufferPool(), time.Minute)
	write := func(s string) {
		if _, err := io.WriteString(g, s); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	eventually(t, "the first write has begun", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.pending == nil
	})
	for range 50 {
		write("b")
	}
	close(w.hold)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if w.writes != 2 || len(w.all) != 51 {
		t.Errorf("%d bytes came in %d writes, want 51 in 2", len(w.all), w.writes)
	}
}

func TestGathererIsBounded(t *testing.T) {
	w := &written{hold: make(chan struct{})}
	g := newGatherer(w, bufferPool(), time.Minute)
	var mu sync.Mutex
	taken := 0
	var done sync.WaitGroup
	done.Go(func() {
		for range 100 {
			n, err := g.Write(make([]byte, 8<<10))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			taken += n
			mu.Unlock()
		}
	})
	full := func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.pending != nil && len(*g.pending)+8<<10 > gatherMost
	}
	eventually(t, "writes wait", full)
	mu.Lock()
	if taken > 2*gatherMost {
		t.Errorf("%d bytes were taken that nobody has read", taken)
	}
	mu.Unlock()
	close(w.hold)
	done.Wait()
	if err := g.Close(); err != nil || len(w.all) != 100*8<<10 {
		t.Errorf("Close: %v; %d bytes came", err, len(w.all))
	}
}

func TestGathererTellsOfErrors(t *testing.T) {
	broken := errors.New("broken")
	w := &written{err: broken}
	g := newGatherer(w, bufferPool(), time.Minute)
	eventually(t, "a write fails", func() bool {
		_, err := g.Write([]byte("x"))
		return errors.Is(err, broken)
	})
	if _, err := g.Write(make([]byte, gatherFrom)); !errors.Is(err, broken) {
		t.Errorf("a write after the failed one: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// A client that reads nothing does not hold a close up for long.
func TestGathererClosesInTime(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	g := newGatherer(a, bufferPool(), time.Minute)
	if _, err := g.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 20*gatherClose {
		t.Errorf("Close took %s", took)
	}
}
