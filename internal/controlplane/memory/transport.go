package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/user"

	"minato/internal/partuse"
)

// remoteAddr is what audit records and logs show as the caller's address.
const remoteAddr = "127.0.0.1:0"

// transport is an http.RoundTripper with one identity.
type transport struct {
	connector *Connector
	user      user.Info
	stage     <-chan struct{} // what requests wait for, besides the handler
}

// RoundTrip implements http.RoundTripper. It returns as soon as the handler
// has sent its header, as a transport over the network does; the body streams.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	handler, err := t.connector.await(req.Context(), t.stage)
	if err != nil {
		closeBody(req)
		return nil, err
	}

	// Only the end of the caller's context reaches the server, none of its
	// values: a handler that calls back with its own request's context would
	// otherwise take over that request's identity and audit record.
	ctx, cancel := context.WithCancel(withIdentity(context.Background(), t.user))
	stop := context.AfterFunc(req.Context(), cancel)
	resp := newResponse(ctx, cancel)
	served := serverRequest(ctx, req)

	go func() {
		partuse.Leave() // the server works, not who asks
		defer stop()
		defer cancel()
		defer closeBody(req)
		serve(handler, resp, served)
	}()

	select {
	case <-resp.headerSent:
	case <-req.Context().Done():
	}
	// A handler that notices the cancellation first may send a header that
	// means nothing.
	if req.Context().Err() != nil {
		resp.body.closeRead()
		return nil, context.Cause(req.Context())
	}
	if resp.failure != nil {
		return nil, resp.failure
	}
	return resp.result(req), nil
}

// serve runs the handler. A panic ends the response the way a broken
// connection would; the server's own filters have logged it already.
func serve(handler http.Handler, resp *response, req *http.Request) {
	defer func() {
		if r := recover(); r != nil {
			err, ok := r.(error)
			if !ok || !errors.Is(err, http.ErrAbortHandler) {
				err = fmt.Errorf("API server handler for %s %s: %v", req.Method, req.URL.Path, r)
			}
			resp.abort(err)
			return
		}
		resp.finish()
	}()
	handler.ServeHTTP(resp, req)
}

// serverRequest is req as the server would have read it from a connection.
func serverRequest(ctx context.Context, req *http.Request) *http.Request {
	served := req.Clone(ctx)
	served.RequestURI = req.URL.RequestURI()
	served.RemoteAddr = remoteAddr
	served.Proto, served.ProtoMajor, served.ProtoMinor = "HTTP/2.0", 2, 0
	served.Host = req.Host
	if served.Host == "" {
		served.Host = req.URL.Host
	}
	if served.Body == nil {
		served.Body = http.NoBody
	}
	served.TLS = nil
	served.Response = nil
	served.GetBody = nil
	return served
}

// closeBody is what a RoundTripper owes its caller.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

var _ io.ReadCloser = (*pipe)(nil)
