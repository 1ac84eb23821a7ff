package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"
)

// Bounds on what a registry may send beside layers.
const (
	// maxManifest bounds a manifest, an index, and whatever else a registry
	// answers, in bytes; registries accept manifests of 4 MiB.
	maxManifest = 4 << 20
	// maxManifestObjects bounds the JSON objects of such an answer: an empty one
	// takes two bytes on the wire, and a hundred times as many in memory.
	maxManifestObjects = 50_000
	// maxErrorBody is how much of an error's text is read, in bytes.
	maxErrorBody = 64 << 10
	// stallTimeout is how long a registry may send nothing while an answer is
	// waited for, as with containerd's image_pull_progress_timeout.
	stallTimeout = 5 * time.Minute
)

var (
	errStalled = errors.New("the registry has stopped sending")
	blobPaths  = regexp.MustCompile(`/blobs/[a-z0-9+._-]+:[0-9a-f]+$`)
)

// boundedTransport carries the requests of one pull and keeps the registry from
// sending more than the pull can use. Blobs are bounded by their descriptors.
type boundedTransport struct {
	base  http.RoundTripper
	stall time.Duration
}

func newBoundedTransport(base http.RoundTripper) *boundedTransport {
	return &boundedTransport{base: base, stall: stallTimeout}
}

// RoundTrip implements http.RoundTripper.
func (t *boundedTransport) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	defer recoverAs(&err)
	blob := blobPaths.MatchString(first(req).URL.Path)
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(t.stall, func() { cancel(errStalled) })
	resp, err = t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		timer.Stop()
		if errors.Is(context.Cause(ctx), errStalled) {
			err = fmt.Errorf("%w: nothing came for %v", errStalled, t.stall)
		}
		cancel(nil)
		return nil, err
	}
	body := &boundedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer, stall: t.stall}
	switch {
	case resp.StatusCode/100 != 2:
		body.cut, body.left = true, maxErrorBody
	case !blob:
		body.left, body.objects = maxManifest, maxManifestObjects
	default:
		body.unlimited = true
	}
	resp.Body = body
	return resp, nil
}

// first is the request that led to this one by redirections.
func first(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

// boundedBody is the body of an answer, bounded in size and in the time without
// any data.
type boundedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration

	unlimited bool
	cut       bool // data beyond left is dropped without an error
	left      int64
	objects   int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if cause := context.Cause(b.ctx); err != nil && errors.Is(cause, errStalled) {
		return n, fmt.Errorf("%w: nothing came for %v", errStalled, b.stall)
	}
	if n > 0 {
		b.timer.Reset(b.stall)
	}
	if b.unlimited {
		return n, err
	}
	if int64(n) > b.left {
		if b.cut {
			return int(b.left), io.EOF
		}
		return 0, fmt.Errorf("a manifest or index of it is larger than the limit of %d bytes", maxManifest)
	}
	b.left -= int64(n)
	if b.objects > 0 {
		if b.objects -= bytes.Count(p[:n], []byte{'{'}); b.objects <= 0 {
			return 0, fmt.Errorf("a manifest or index of it has more than the limit of %d JSON objects", maxManifestObjects)
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
