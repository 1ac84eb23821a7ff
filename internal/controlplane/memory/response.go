package memory

import (
	"context"
	"net/http"
	"strconv"
	"sync"
)

// response is the http.ResponseWriter of one in-memory request. Like the
// writer of an HTTP/2 server it can flush and notify of a gone client, and
// can't be hijacked.
type response struct {
	header http.Header
	body   *pipe
	ctx    context.Context

	once       sync.Once
	headerSent chan struct{}
	// Valid once headerSent is closed.
	status  int
	sent    http.Header
	failure error

	notifyOnce sync.Once
	notify     chan bool
}

func newResponse(ctx context.Context, cancel context.CancelFunc) *response {
	return &response{
		header:     http.Header{},
		body:       newPipe(cancel),
		ctx:        ctx,
		headerSent: make(chan struct{}),
	}
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		return // informational; a client of this transport has no use for it
	}
	r.once.Do(func() {
		r.status = status
		r.sent = r.header.Clone()
		close(r.headerSent)
	})
}

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// Flush only has to send the header: written bytes are readable at once.
func (r *response) Flush() { r.WriteHeader(http.StatusOK) }

// CloseNotify implements http.CloseNotifier, which upstream's response
// wrappers demand of every writer that can flush.
func (r *response) CloseNotify() <-chan bool {
	r.notifyOnce.Do(func() {
		r.notify = make(chan bool, 1)
		context.AfterFunc(r.ctx, func() { r.notify <- true })
	})
	return r.notify
}

func (r *response) finish() {
	r.WriteHeader(http.StatusOK)
	// A handler that stopped because its client's context ended has not
	// necessarily written everything.
	r.body.closeWrite(r.ctx.Err())
}

// abort ends the response after the handler failed: before the header the
// caller gets err from RoundTrip, afterwards a body that breaks off.
func (r *response) abort(err error) {
	r.once.Do(func() {
		r.failure = err
		close(r.headerSent)
	})
	r.body.closeWrite(err)
}

// result is the client's view of the response.
func (r *response) result(req *http.Request) *http.Response {
	length := int64(-1)
	if v := r.sent.Get("Content-Length"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
			length = n
		}
	}
	return &http.Response{
		Status:        strconv.Itoa(r.status) + " " + http.StatusText(r.status),
		StatusCode:    r.status,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        r.sent,
		Body:          r.body,
		ContentLength: length,
		Request:       req,
	}
}
