package filter

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
)

// mirrors sends copies of requests elsewhere (mirror-target). Their answers are read and dropped. A copy is handed over to a
// queue that is bounded in number and memory: a mirror that is slow or gone costs clients nothing, and copies that it
// does not take are dropped and counted. With ingress-nginx it delays the client.
type mirrors struct {
	client    *http.Client
	log       *slog.Logger
	now       func() time.Time
	workers   int
	largest   int64
	most      int64
	queue     chan *mirrored
	held      atomic.Int64
	sent      atomic.Int64
	dropped   atomic.Int64
	failed    atomic.Int64
	lastError atomic.Int64
}

// mirrored is a copy on its way.
type mirrored struct {
	request *http.Request
	held    int64
}

// MirrorCounts are how many copies of requests were answered, were dropped before they were sent, and failed.
type MirrorCounts struct{ Sent, Dropped, Failed int64 }

const (
	mirrorTimeout = time.Minute
	mirrorAnswer  = 1 << 20 // how much of an answer is read, so that the connection can be kept
)

func newMirrors(cfg afterConfig) *mirrors {
	m := &mirrors{client: cfg.Mirror, log: cfg.Logger, now: cfg.Now, workers: cfg.MirrorWorkers, largest: cfg.MirrorBody, most: cfg.MirrorMemory}
	if m.client == nil {
		m.client = mirrorClient()
	}
	if m.workers == 0 {
		m.workers = 64
	}
	if m.largest == 0 {
		m.largest = 1 << 20
	}
	if m.most == 0 {
		m.most = 64 << 20
	}
	waiting := cfg.MirrorQueue
	if waiting == 0 {
		waiting = 1024
	}
	m.queue = make(chan *mirrored, waiting)
	return m
}

// mirrorClient verifies no certificate, as nginx's proxy_pass without proxy_ssl_verify does not. The proxy's own machine and
// what is only on its link, such as a cloud's metadata, are no mirrors: whoever may write an Ingress could otherwise
// send requests there.
func mirrorClient() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error { return mayMirrorTo(address) }}
	return &http.Client{
		Timeout: mirrorTimeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // see above
			DisableCompression: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var errMirrorAddress = errors.New("a mirror can't be at a loopback, link-local or unspecified address")

// mayMirrorTo tells whether a mirror may be at an address and port.
func mayMirrorTo(address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := a.Addr().Unmap(); ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
		return errMirrorAddress
	}
	return nil
}

func (m *mirrors) counts() MirrorCounts {
	return MirrorCounts{Sent: m.sent.Load(), Dropped: m.dropped.Load(), Failed: m.failed.Load()}
}

// run sends what is handed over until the context ends.
func (m *mirrors) run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range m.workers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case c := <-m.queue:
					m.send(ctx, c)
				}
			}
		})
	}
	workers.Wait()
	for {
		select {
		case c := <-m.queue:
			m.held.Add(-c.held)
			m.dropped.Add(1)
		default:
			m.client.CloseIdleConnections()
			return nil
		}
	}
}

// send sends one copy and drops its answer.
func (m *mirrors) send(ctx context.Context, c *mirrored) {
	defer m.held.Add(-c.held)
	ctx, cancel := context.WithTimeout(ctx, mirrorTimeout)
	defer cancel()
	resp, err := m.client.Do(c.request.WithContext(ctx))
	if err != nil {
		m.failed.Add(1)
		m.tell("A mirror does not take the copy of a request", c.request.URL.Host, err)
		return
	}
	// What the mirror says does not matter, nor whether it says it to the end.
	_, _ = io.CopyN(io.Discard, resp.Body, mirrorAnswer)
	_ = resp.Body.Close()
	m.sent.Add(1)
}

// tell logs an error, at most one in ten seconds: a mirror that is gone must not fill the log.
func (m *mirrors) tell(message, host string, err error) {
	now, last := m.now().UnixNano(), m.lastError.Load()
	if last != 0 && now-last < int64(10*time.Second) || !m.lastError.CompareAndSwap(last, now) {
		return
	}
	m.log.Warn(message, "mirror", host, "error", err, "dropped", m.dropped.Load(), "failed", m.failed.Load())
}

// mirror hands a copy of the request over.
func (a *after) mirror(x *exchange.Exchange, body exchange.Body) {
	loc := x.Location()
	if loc == nil || loc.Mirror == nil {
		return
	}
	m := a.mirrors
	size := int64(0)
	if loc.Mirror.Body {
		size = body.Size()
	}
	held := size + 4<<10 // the head's share
	switch {
	case size < 0 || size > m.largest:
		m.dropped.Add(1) // it is not all here, or too much to be kept
		return
	case m.held.Add(held) > m.most:
		m.held.Add(-held)
		m.dropped.Add(1)
		return
	}
	q, err := mirrorRequest(x, body, size)
	if err != nil {
		m.held.Add(-held)
		m.dropped.Add(1)
		m.tell("The copy of a request cannot be made", x.Host, err)
		return
	}
	select {
	case m.queue <- &mirrored{request: q, held: held}:
	default:
		m.held.Add(-held)
		m.dropped.Add(1)
	}
}

var errMirrorTarget = errors.New("the expanded mirror-target is not an http(s) URL")

// mirrorRequest makes the copy. It has the method and the header that the backend gets, with a Host of its own.
func mirrorRequest(x *exchange.Exchange, body exchange.Body, size int64) (*http.Request, error) {
	m := x.Location().Mirror
	u, err := mirrorURL(string(x.AppendText(nil, &m.Target)))
	if err != nil {
		return nil, err
	}
	q := &http.Request{
		Method: strings.Clone(x.Method), URL: u, Host: string(x.AppendText(nil, &m.Host)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, x.Forward.Len()),
	}
	x.Forward.ToHTTP(q.Header)
	for _, name := range [...]string{"Host", "Connection", "Upgrade", "Te", "Expect", "Content-Length", "Transfer-Encoding"} {
		delete(q.Header, name)
	}
	if _, ok := q.Header["User-Agent"]; !ok {
		q.Header["User-Agent"] = nil // or one would be made up
	}
	if size > 0 {
		b := make([]byte, size)
		if n, err := body.ReadAt(b, 0); int64(n) < size {
			return nil, fmt.Errorf("read the body of %d bytes: %w", size, err)
		}
		q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(b)), size
		q.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	}
	return q, nil
}

// mirrorURL reads the expanded target. Its path and query are sent as they stand, escaped or not. What a client sends must
// not reach the authority: a request target that does not begin with a slash would.
func mirrorURL(s string) (*url.URL, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return nil, errMirrorTarget
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, target := rest[:end], rest[end:]
	if i := strings.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	if !h1.ValidHost([]byte(host)) || host == "" {
		return nil, errMirrorTarget
	}
	if target == "" || target[0] != '/' {
		target = "/" + target
	}
	u := &url.URL{Scheme: scheme, Host: host}
	if strings.HasPrefix(target, "//") {
		u.Path, u.RawQuery, _ = strings.Cut(target, "?") // as Opaque it would be an authority
		return u, nil
	}
	u.Opaque = string(h1.AppendTarget(nil, []byte(target)))
	return u, nil
}
