package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

// connect returns a client for handler with one identity.
func connect(t *testing.T, handler http.Handler, name string) *http.Client {
	t.Helper()
	c := NewConnector()
	if handler != nil {
		if err := c.Serve(handler); err != nil {
			t.Fatal(err)
		}
		c.Open()
	}
	client, err := rest.HTTPClientFor(c.RESTConfig("http://memory", NewUser(name)))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func get(t *testing.T, ctx context.Context, client *http.Client) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://memory/path?a=b", nil)
	if err != nil {
		t.Fatal(err)
	}
	return client.Do(req)
}

func TestRequestAndResponse(t *testing.T) {
	client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Test", "before")
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Test", "too late")
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Client"), body)
	}), "somebody")
	req, err := http.NewRequest(http.MethodPost, "http://memory/path?a=b", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Client", "yes")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Test") != "before" || string(body) != "POST /path?a=b yes hello" {
		t.Errorf("got %s, header %v, body %q", resp.Status, resp.Header, body)
	}
}

func TestStreaming(t *testing.T) {
	next := make(chan string)
	gone := make(chan struct{})
	client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.(http.Flusher).Flush()
		for {
			select {
			case s := <-next:
				_, _ = io.WriteString(w, s)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}), "somebody")
	resp, err := get(t, context.Background(), client) // returns though nothing was written
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two"} {
		next <- want
		got := make([]byte, 3)
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	_ = resp.Body.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the handler goes on though its client closed the response")
	}
}

func TestCancellation(t *testing.T) {
	started, gone := make(chan struct{}), make(chan struct{})
	client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(gone)
	}), "somebody")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-started
		cancel()
	}()
	if _, err := get(t, ctx, client); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled request returned %v", err)
	}
	<-gone
}

func TestSlowReaderHoldsUpWriter(t *testing.T) {
	const size = 5 * pipeLimit
	written := make(chan struct{})
	client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(written)
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		for range size / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}), "somebody")
	resp, err := get(t, context.Background(), client)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-written:
		t.Fatal("the handler wrote everything though nobody read")
	default:
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != size {
		t.Errorf("read %d bytes, %v; want %d", n, err, size)
	}
	<-written
}

func TestPanics(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		early   bool
	}{
		{"before the header", func(http.ResponseWriter, *http.Request) { panic("oh") }, true},
		{"abort before the header", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},
		{"in the body", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}, false},
	} {
		resp, err := get(t, context.Background(), connect(t, tc.handler, "somebody"))
		if tc.early {
			if err == nil {
				t.Errorf("%s: the request succeeded", tc.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: read %q, %v; want an unexpected end", tc.name, body, err)
		}
	}
}

func TestWaitsForHandler(t *testing.T) {
	c := NewConnector()
	client, err := rest.HTTPClientFor(c.RESTConfig("http://memory", NewUser("somebody")))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := get(t, ctx, client); !errors.Is(err, context.Canceled) {
		t.Errorf("without a handler a cancelled request returned %v", err)
	}

	answer := make(chan error, 1)
	go func() {
		resp, err := get(t, context.Background(), client)
		if err == nil {
			_ = resp.Body.Close()
		}
		answer <- err
	}()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	if err := c.Serve(ok); err != nil {
		t.Fatal(err)
	}
	// The server's own client need not wait for the roles that it writes.
	own, err := rest.HTTPClientFor(c.ServerConfig("http://memory", NewUser("server")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := get(t, context.Background(), own)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	select {
	case err := <-answer:
		t.Errorf("before Open a request of another client ended with %v", err)
	default:
	}
	c.Open()
	c.Open()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if err := c.Serve(ok); err == nil {
		t.Error("a second handler was accepted")
	}
}

type ctxKey struct{}

func TestIdentity(t *testing.T) {
	refuse := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil })
	auth := Authenticator(refuse)
	var seen []string
	var inner *http.Client
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, ok, err := auth.AuthenticateRequest(r)
		if err != nil || !ok {
			t.Errorf("AuthenticateRequest: %v, %v", ok, err)
			return
		}
		if r.Context().Value(ctxKey{}) != nil {
			t.Error("the server sees values of its client's context")
		}
		seen = append(seen, resp.User.GetName()+" "+strings.Join(resp.User.GetGroups(), ","))
		if inner != nil { // call back with this request's context, as admission does
			c := inner
			inner = nil
			req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://memory/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
		}
	})
	c := NewConnector()
	if err := c.Serve(handler); err != nil {
		t.Fatal(err)
	}
	c.Open()
	outer, err := rest.HTTPClientFor(c.RESTConfig("http://memory", NewUser("outer", "crew")))
	if err != nil {
		t.Fatal(err)
	}
	if inner, err = rest.HTTPClientFor(c.RESTConfig("http://memory", NewUser("inner"))); err != nil {
		t.Fatal(err)
	}
	resp, err := get(t, context.WithValue(context.Background(), ctxKey{}, "x"), outer)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	want := []string{"outer crew," + user.AllAuthenticated, "inner " + user.AllAuthenticated}
	if len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
		t.Errorf("the server saw %q, want %q", seen, want)
	}

	// A request from elsewhere has no identity, whatever its headers are.
	req, err := http.NewRequest(http.MethodGet, "http://memory/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Remote-User", "admin")
	if _, ok, err := auth.AuthenticateRequest(req); ok || err != nil {
		t.Errorf("a request without identity was accepted: %v, %v", ok, err)
	}
	if _, ok, err := Authenticator(nil).AuthenticateRequest(req); ok || err != nil {
		t.Errorf("without a next authenticator a foreign request was accepted: %v, %v", ok, err)
	}
}
