package announce

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// eventReader reads what the programs tell of. It has a handle of its own of the buffer, which Close does not take away.
type eventReader struct {
	*ringbuf.Reader
	m *ebpf.Map
}

func (r eventReader) close() {
	r.Close()
	r.m.Close()
}

func (a *Announcer) readerOfEvents() (r eventReader, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return r, fmt.Errorf("announcing of node %s: %w", a.cfg.NodeName, errClosed)
	}
	if r.m, err = a.collection.Maps["events"].Clone(); err != nil {
		return r, fmt.Errorf("announcing of node %s: read events: %w", a.cfg.NodeName, err)
	}
	if r.Reader, err = ringbuf.NewReader(r.m); err != nil {
		r.m.Close()
		return r, fmt.Errorf("announcing of node %s: read events: %w", a.cfg.NodeName, err)
	}
	return r, nil
}

// readEvents passes on what the programs tell of until the reader is closed.
func readEvents(ctx context.Context, r eventReader, out chan<- event) error {
	for {
		rec, err := r.Read()
		if errors.Is(err, os.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		var e event
		if err := binary.Read(bytes.NewReader(rec.RawSample), binary.NativeEndian, &e); err != nil {
			return fmt.Errorf("read event of %d bytes: %w", len(rec.RawSample), err)
		}
		select {
		case out <- e:
		case <-ctx.Done():
			return nil
		}
	}
}

// told takes in what the programs told of.
func (l *loop) told(e event) (*Conflict, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.collection == nil {
		return nil, nil
	}
	addr, now := e.Addr.Addr(), time.Now()
	if l.base(addr)&addressGateway != 0 {
		l.liveness.heardGateway(now)
	}
	s := l.addrs[addr]
	switch {
	case s == nil || e.Host == selfNumber:
	case e.Host != nobody && s.phase.answers():
		return &Conflict{Addr: addr, MAC: e.MAC.Addr(), Link: l.linkName(int(e.Index)), Peer: l.hosts.name(e.Host)}, nil
	case e.Host == nobody:
		l.strangers = append(l.strangers, stranger{event: e, at: now.Add(recognizeAfter)})
		if s.phase == probing || s.phase == tried {
			l.schedule.hold(addr, now)
			return nil, l.enter(addr, held)
		}
	}
	return nil, nil
}

// recognizeAfter is how long the hardware address of a claim may turn out to be another node's: that is known only once a
// probe came from it.
const recognizeAfter = 200 * time.Millisecond

// stranger is a claim of somebody who is no node as far as is known.
type stranger struct {
	event
	at time.Time
}

// recognize returns one claim that was a stranger's indeed, if there is one.
func (l *loop) recognize() *Conflict {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for len(l.strangers) > 0 && l.collection != nil && !l.strangers[0].at.After(now) {
		e := l.strangers[0].event
		l.strangers = l.strangers[1:]
		addr := e.Addr.Addr()
		s := l.addrs[addr]
		if s == nil {
			continue
		}
		var host uint32
		if err := l.collection.Maps["stations"].Lookup(e.MAC, &host); err == nil {
			if s.phase == held {
				s.phase = probing
				l.schedule.probe(addr, now)
			}
			continue
		}
		if s.phase == answered {
			l.schedule.defend(addr, now)
		}
		return &Conflict{Addr: addr, MAC: e.MAC.Addr(), Link: l.linkName(int(e.Index)), Held: s.phase == held}
	}
	return nil
}

func (a *Announcer) linkName(index int) string {
	for name, u := range a.uplinks {
		if u.index == index {
			return name
		}
	}
	return ""
}
