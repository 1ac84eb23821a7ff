package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"sync"
	"time"
)

const (
	// attemptLimit is shorter than the second after which the kernel sends a lost SYN again, so that an
	// attempt tells of the moment in which it was made.
	attemptLimit = 500 * time.Millisecond
	// askEach is how often a held connection is used.
	askEach = 100 * time.Millisecond
)

// attempt is a new connection with one request.
type attempt struct {
	At   time.Time `json:"at"` // its start
	Node string    `json:"node,omitempty"`
	Err  string    `json:"err,omitempty"`
}

// flow is a connection that is held.
type flow struct {
	Node string `json:"node"` // the Pod's, as its answers say
	// Cut is when the connection turned out to have ended.
	Cut time.Time `json:"cut,omitzero"`
	Err string    `json:"err,omitempty"`
	// Since is when the request was sent that has no answer yet.
	Since time.Time `json:"since,omitzero"`
	// Stuck says that it had been waiting for too long when the load was stopped.
	Stuck bool `json:"stuck,omitempty"`
}

func (f *flow) waiting(now time.Time) bool { return !f.Since.IsZero() && now.Sub(f.Since) > stale }

// view is how a load does at a moment.
type view struct {
	LastFailure time.Time      `json:"lastFailure,omitzero"` // start of the last attempt that failed
	Failure     string         `json:"failure,omitempty"`
	Recent      map[string]int `json:"recent"` // attempts of the last half second that succeeded, by node
	Held        int            `json:"held"`   // connections that are open
	Waiting     int            `json:"waiting"`
	Cut         string         `json:"cut,omitempty"` // what one that is not open any more ended with
}

type loadResult struct {
	Attempts []attempt `json:"attempts"`
	Flows    []flow    `json:"flows"`
}

// load opens connections at a steady rate, whatever becomes of them, and holds others open.
type load struct {
	to     netip.AddrPort
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	attempts []attempt
	flows    []*flow
}

func newLoad(o order) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{to: o.To, cancel: cancel}
	for range o.Hold {
		f := &flow{}
		l.flows = append(l.flows, f)
		l.work.Go(func() { l.hold(ctx, f) })
	}
	l.work.Go(func() { l.openAll(ctx, time.Second/time.Duration(o.Rate)) })
	return l
}

func (l *load) openAll(ctx context.Context, each time.Duration) {
	tick := time.NewTicker(each)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.work.Go(l.open)
		}
	}
}

func (l *load) open() {
	a := attempt{At: time.Now()}
	err := func() error {
		conn, err := dial(l.to)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(a.At.Add(attemptLimit)); err != nil {
			return err
		}
		a.Node, err = request(conn, bufio.NewReader(conn), l.to)
		return err
	}()
	if err != nil {
		a.Err = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts = append(l.attempts, a)
}

// dial opens a connection whose end leaves nothing behind: no port stays taken.
func dial(to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: attemptLimit}
	conn, err := d.Dial("tcp", to.String())
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a connection of kind %T", conn), conn.Close())
	}
	return tcp, tcp.SetLinger(0)
}

// hold keeps one connection until it is cut, and opens no other one.
func (l *load) hold(ctx context.Context, f *flow) {
	end := func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if ctx.Err() == nil {
			f.Cut, f.Err, f.Since = time.Now(), err.Error(), time.Time{}
		}
	}
	conn, err := dial(l.to)
	if err != nil {
		end(err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in := bufio.NewReader(conn)
	tick := time.NewTicker(askEach)
	defer tick.Stop()
	for {
		l.mu.Lock()
		f.Since = time.Now()
		l.mu.Unlock()
		node, err := request(conn, in, l.to)
		if err != nil {
			end(err)
			return
		}
		l.mu.Lock()
		f.Node, f.Since = node, time.Time{}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

var whoAnswered = regexp.MustCompile(`^pod \S+ on node (\S+)`)

// request asks who answers, on a connection that stays open.
func request(conn io.Writer, in *bufio.Reader, host netip.AddrPort) (node string, err error) {
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	m := whoAnswered.FindSubmatch(body)
	if m == nil {
		return "", fmt.Errorf("an answer that nobody expects: %.80q", body)
	}
	return string(m[1]), nil
}

// stale is how long a held connection may wait for an answer until it counts as waiting.
const stale = time.Second

func (l *load) look() view {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := view{Recent: map[string]int{}}
	now := time.Now()
	for _, a := range l.attempts {
		if a.Err != "" && a.At.After(v.LastFailure) {
			v.LastFailure, v.Failure = a.At, a.Err
		}
		if a.Err == "" && now.Sub(a.At) < 500*time.Millisecond {
			v.Recent[a.Node]++
		}
	}
	for _, f := range l.flows {
		switch {
		case !f.Cut.IsZero():
			v.Cut = f.Err
		case f.Node != "":
			v.Held++
			fallthrough
		default:
			if f.waiting(now) {
				v.Waiting++
			}
		}
	}
	return v
}

func (l *load) stop() loadResult {
	l.mu.Lock()
	flows := make([]flow, 0, len(l.flows))
	now := time.Now()
	for _, f := range l.flows {
		f.Stuck = f.waiting(now)
		flows = append(flows, *f)
	}
	l.mu.Unlock()
	l.cancel()
	l.work.Wait()
	return loadResult{Attempts: l.attempts, Flows: flows}
}
