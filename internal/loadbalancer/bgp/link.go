package bgp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"minato/internal/host/helper"
)

// link is a connection to a Helper. Requests may be made side by side.
type link struct {
	conn   *conn
	helper hello
	gone   chan struct{} // closed when the connection has ended
	// child is nil if the Helper is not a child of this process.
	child *helper.Child

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan message
	err     error
}

// newLink says hello and reads what the Helper sends from then on.
func newLink(ctx context.Context, c *conn, build string, changed changes) (*link, error) {
	l := &link{conn: c, gone: make(chan struct{}), waiting: map[uint64]chan message{}}
	go l.read(changed)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	m, err := l.ask(ctx, message{Hello: &hello{Build: build, PID: os.Getpid()}})
	if err == nil && m.Hello == nil {
		err = errMessage
	}
	if err != nil {
		l.close()
		return nil, err
	}
	l.helper = *m.Hello
	return l, nil
}

func (l *link) read(changed changes) {
	defer close(l.gone)
	for {
		m, err := l.conn.receive()
		if err != nil {
			l.mu.Lock()
			l.err = err
			l.mu.Unlock()
			l.conn.close()
			return
		}
		if m.Changed != nil {
			changed.notify()
			continue
		}
		l.mu.Lock()
		answer := l.waiting[m.ID]
		delete(l.waiting, m.ID)
		l.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	}
}

// ask sends a request and waits for the answer.
func (l *link) ask(ctx context.Context, m message) (message, error) {
	answer := make(chan message, 1)
	l.mu.Lock()
	l.next++
	m.ID = l.next
	l.waiting[m.ID] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, m.ID)
		l.mu.Unlock()
	}()
	if err := l.conn.send(m); err != nil {
		return message{}, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-l.gone:
		return message{}, l.why()
	case <-ctx.Done():
		return message{}, context.Cause(ctx)
	}
}

// why says why the connection has ended.
func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Errorf("the process that speaks BGP is gone: %w", l.err)
}

func (l *link) apply(ctx context.Context, s State) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	m, err := l.ask(ctx, message{Apply: &s})
	switch {
	case err != nil:
		return err
	case m.Done == nil:
		return errMessage
	case m.Done.Error != "":
		return errors.New(m.Done.Error)
	}
	return nil
}

// end has the Helper end, and waits for that.
func (l *link) end(keep bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_, err := l.ask(ctx, message{Stop: &stop{Keep: keep}})
	if err == nil {
		select {
		case <-l.gone:
		case <-ctx.Done():
			err = fmt.Errorf("the process that speaks BGP does not end within %v", endTimeout)
		}
	}
	if l.child == nil {
		return err
	}
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-l.child.Exited():
	case <-timer.C:
		l.child.Kill()
	}
	return err
}

func (l *link) close() {
	l.conn.close()
	<-l.gone
}
