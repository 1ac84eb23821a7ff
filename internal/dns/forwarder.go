package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

var (
	errNoUpstream = errors.New("no upstream resolver is configured")
	errBusy       = errors.New("too many questions are waiting for upstream resolvers")
	errNoAnswer   = errors.New("no answer in time")
)

const (
	forwardTimeout = 4500 * time.Millisecond // below the five seconds resolvers in Pods wait
	resendAfter    = time.Second             // then the question is sent again: a datagram may be lost
	staleAfter     = 500 * time.Millisecond  // then an expired answer is given, if the cache has one
	failedFor      = 10 * time.Second        // an upstream that was silent is asked last for so long
	minHedge       = 20 * time.Millisecond
	maxHedge       = 400 * time.Millisecond
)

// forwarder asks the upstream resolvers. Every question has a socket, a source
// port and a random id of its own, so that an answer cannot be guessed. Equal
// questions asked at the same time are sent once. That ends a forwarding loop too:
// a question that comes back waits for its own answer until forwardTimeout.
type forwarder struct {
	upstreams func() []netip.AddrPort // the node's own resolvers
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	self      []netip.AddrPort
	policy    func() *policy
	warn      func(reason, message string)
	flights   singleflight.Group
	waiting   atomic.Int64
	cache     *answerCache
	stats     forwardStats
	running   sync.WaitGroup // goroutines that outlive the question they were started for

	mu     sync.Mutex
	health map[netip.AddrPort]*upstreamHealth
	probes map[string]netip.AddrPort // random names that were asked of an upstream, to detect a loop
}

func newForwarder(upstreams func() []netip.AddrPort, dial func(context.Context, string, string) (net.Conn, error), self []netip.AddrPort) *forwarder {
	defaults, _ := newPolicy(Config{}, "cluster.local") // nothing in it can be wrong
	return &forwarder{
		upstreams: upstreams,
		dial:      dial,
		self:      self,
		policy:    func() *policy { return defaults },
		warn:      func(string, string) {},
		cache:     newCache(),
		health:    map[netip.AddrPort]*upstreamHealth{},
		probes:    map[string]netip.AddrPort{},
	}
}

// exchange resolves name, with the type and flags of req, from the cache or by
// asking upstreams. The answer belongs to the caller. The reasons go to t, unless it
// is nil.
func (f *forwarder) exchange(ctx context.Context, req *dns.Msg, name string, t *trace) (*dns.Msg, error) {
	p := f.policy()
	q := upstreamQuery(req, name)
	key := flightKey(q)
	now := time.Now()
	e, state := f.cache.get([]byte(key), now, &p.cache)
	f.stats.lookup(state)
	switch state {
	case due:
		f.renew(ctx, key, q)
		fallthrough
	case fresh:
		t.used("cache", "the answer was cached %s ago and is valid for %s more", now.Sub(e.stored).Round(time.Second), (e.ttl - now.Sub(e.stored)).Round(time.Second))
		return e.message(now, state), nil
	case stale:
		m, err := f.askOrStale(ctx, key, q)
		if err != nil || m.Rcode == dns.RcodeServerFailure {
			f.stats.staleServed.Add(1)
			t.used("cache", "no upstream has answered in time; the cached answer expired %s ago", (now.Sub(e.stored) - e.ttl).Round(time.Second))
			return e.message(now, stale), nil
		}
		return m, nil
	}
	return f.ask(ctx, key, q, t)
}

// ask asks the upstreams and caches the answer. Equal questions share one flight.
func (f *forwarder) ask(ctx context.Context, key string, q *dns.Msg, t *trace) (*dns.Msg, error) {
	v, err, shared := f.flights.Do(key, func() (any, error) { return f.send(ctx, key, q, t) })
	return own(v, err, shared)
}

// send is the one flight that equal questions share.
func (f *forwarder) send(ctx context.Context, key string, q *dns.Msg, t *trace) (*dns.Msg, error) {
	p := f.policy()
	g, domain := p.group(q.Question[0].Name)
	if g == nil {
		return nil, errNoUpstream
	}
	servers := f.order(g, time.Now())
	if len(servers) == 0 {
		return nil, errNoUpstream
	}
	t.used("upstream of "+domain, "it is %s", joinServers(servers))
	if n := f.waiting.Add(1); n > int64(p.waiting) {
		f.waiting.Add(-1)
		f.stats.rejected.Add(1)
		return nil, errBusy
	}
	defer f.waiting.Add(-1)
	m, err := f.race(ctx, g, servers, q, t)
	if err == nil {
		f.cache.put(key, m, time.Now(), &p.cache)
	}
	return m, err
}

// own copies a message that several callers have been given.
func own(v any, err error, shared bool) (*dns.Msg, error) {
	if err != nil {
		return nil, err
	}
	m := v.(*dns.Msg)
	if shared {
		m = m.Copy()
	}
	return m, nil
}

// askOrStale is ask, but returns errNoAnswer after staleAfter. The question goes on
// nevertheless, so that its answer is cached for the clients that ask next.
func (f *forwarder) askOrStale(ctx context.Context, key string, q *dns.Msg) (*dns.Msg, error) {
	timer := time.NewTimer(staleAfter)
	defer timer.Stop()
	f.running.Add(1)
	done := make(chan struct{})
	var m *dns.Msg
	var err error
	go func() {
		defer f.running.Done()
		defer close(done)
		m, err = f.ask(ctx, key, q, nil)
	}()
	select {
	case <-done:
		return m, err
	case <-timer.C:
		return nil, errNoAnswer
	}
}

// renew asks again for a cached answer that is about to expire. It does not wait for the new answer.
func (f *forwarder) renew(ctx context.Context, key string, q *dns.Msg) {
	f.stats.prefetched.Add(1)
	f.running.Add(1)
	go func() {
		defer f.running.Done()
		if _, err := f.ask(ctx, key, q, nil); err != nil {
			f.cache.notRenewed(key)
		}
	}()
}

func upstreamQuery(req *dns.Msg, name string) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, req.Question[0].Qtype)
	q.RecursionDesired = req.RecursionDesired
	q.CheckingDisabled = req.CheckingDisabled
	opt := req.IsEdns0()
	q.SetEdns0(maxUDPSize, opt != nil && opt.Do())
	return q
}

func flightKey(q *dns.Msg) string {
	return string(cacheKey(nil, q.Question[0].Name, q.Question[0].Qtype, q.RecursionDesired, q.CheckingDisabled, q.IsEdns0().Do()))
}

type outcome struct {
	server netip.AddrPort
	msg    *dns.Msg
	err    error
	took   time.Duration
}

// race asks the servers one after the other, each as soon as the one before has
// failed or been waited for patiently (see patience), or all at once if the group
// says so. It returns the first answer that settles the question; if there is none,
// an answer such as SERVFAIL.
func (f *forwarder) race(ctx context.Context, g *group, servers []netip.AddrPort, q *dns.Msg, t *trace) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	results := make(chan outcome, len(servers))
	waiting := map[netip.AddrPort]time.Time{} // since when
	defer func() {
		cancel()
		for range waiting {
			<-results // the others end at once: their sockets are closed with ctx
		}
	}()
	hedge := time.NewTimer(maxHedge)
	defer hedge.Stop()
	next := func() {
		server := servers[0]
		servers = servers[1:]
		start := time.Now()
		waiting[server] = start
		go func() {
			m, err := f.askServer(ctx, g, server, q)
			results <- outcome{server, m, err, time.Since(start)}
		}()
		hedge.Reset(f.patience(server))
	}
	next()
	for g.order == parallel && len(servers) > 0 {
		next()
	}
	var second *dns.Msg // an answer that settles nothing
	var errs []error
	for len(waiting) > 0 {
		select {
		case r := <-results:
			delete(waiting, r.server)
			if ctx.Err() == nil || r.err == nil {
				f.note(r.server, r.err, r.took)
			}
			f.stats.answered(r)
			switch {
			case r.err != nil:
				t.dropped("upstream "+r.server.String(), "%v", r.err)
				errs = append(errs, fmt.Errorf("ask %s: %w", r.server, r.err))
			case settles(r.msg):
				t.used("upstream "+r.server.String(), "it answered in %s", r.took.Round(100*time.Microsecond))
				f.suspect(waiting)
				return r.msg, nil
			default:
				t.dropped("upstream "+r.server.String(), "it answered %s", dns.RcodeToString[r.msg.Rcode])
				second = r.msg
			}
		case <-hedge.C:
		}
		if len(servers) > 0 {
			next()
		}
	}
	if second != nil {
		return second, nil
	}
	if ctx.Err() != nil { // nobody answered in all that time
		errs = append(errs, errNoAnswer)
	}
	return nil, errors.Join(errs...)
}

// settles reports whether a server has answered the question, if only to say that the name does not exist, rather than
// said that it cannot answer.
func settles(m *dns.Msg) bool {
	switch m.Rcode {
	case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented:
		return false
	}
	return true
}

// askServer asks one server, over UDP first and over TCP when the answer was truncated.
func (f *forwarder) askServer(ctx context.Context, g *group, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	own := q.Copy() // packing a message writes to its OPT record
	own.Id = dns.Id()
	if g.tcp {
		return f.askTCP(ctx, server, own)
	}
	m, err := f.askUDP(ctx, server, own)
	if err != nil || !m.Truncated {
		return m, err
	}
	own.Id = dns.Id()
	if full, err := f.askTCP(ctx, server, own); err == nil {
		return full, nil
	}
	return m, nil // it is marked as truncated
}

func (f *forwarder) askUDP(ctx context.Context, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	packed, err := q.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack question: %w", err)
	}
	conn, err := f.dial(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		if _, err := conn.Write(packed); err != nil {
			return nil, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(resendAfter)); err != nil {
			return nil, err
		}
		m, err := readMatching(conn, buf, q)
		var timeout net.Error
		if err != nil && errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil && ctx.Err() != nil {
			break
		}
		return m, err
	}
	return nil, errNoAnswer
}

// readMatching reads until the answer to q comes. It skips every other message: one
// with another id, type or name may be forged.
func readMatching(conn net.Conn, buf []byte, q *dns.Msg) (*dns.Msg, error) {
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n < 12 || binary.BigEndian.Uint16(buf) != q.Id {
			continue
		}
		m := new(dns.Msg)
		if m.Unpack(buf[:n]) == nil && answers(m, q) {
			return m, nil
		}
	}
}

func (f *forwarder) askTCP(ctx context.Context, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	raw, err := f.dial(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := &dns.Conn{Conn: raw}
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	m, err := conn.ReadMsg()
	if err != nil {
		return nil, err
	}
	if !answers(m, q) {
		return nil, fmt.Errorf("%s answered another question than %q", server, q.Question[0].Name)
	}
	return m, nil
}

func answers(m, q *dns.Msg) bool {
	if !m.Response || m.Id != q.Id {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode == dns.RcodeFormatError // it could not read the question
	}
	a, b := m.Question[0], q.Question[0]
	return len(m.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass &&
		strings.EqualFold(a.Name, b.Name)
}
