package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"
)

// check sees that a proxy passes on what it shall before it is measured: an answer of an error page is a fast one too.
func check(ctx context.Context, s *site) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	host := webHost
	path := "/"
	if len(s.Hosts) > 0 {
		host, path = s.Hosts[len(s.Hosts)-1], s.Paths[len(s.Paths)-1]+"/x"
	}
	plain := &http.Transport{DisableKeepAlives: true}
	if err := ask(ctx, plain, http.MethodGet, "http", s.HTTP, host, path, nil, 13); err != nil {
		return err
	}
	if err := ask(ctx, plain, http.MethodGet, "http", s.HTTP, webHost, "/big", nil, bigSize); err != nil {
		return err
	}
	if err := ask(ctx, plain, http.MethodPost, "http", s.HTTP, webHost, "/up", bytes.NewReader(make([]byte, bigSize)), 13); err != nil {
		return err
	}
	for _, kind := range s.Kinds {
		for _, version := range []string{"http/1.1", "h2"} {
			t := &http.Transport{
				DisableKeepAlives: true, ForceAttemptHTTP2: version == "h2",
				TLSClientConfig: &tls.Config{ServerName: hostOf(kind), InsecureSkipVerify: true, NextProtos: []string{version}},
			}
			if err := ask(ctx, t, http.MethodGet, "https", s.HTTPS, hostOf(kind), "/", nil, 13); err != nil {
				return err
			}
		}
	}
	return call(ctx, s)
}

// ask makes a request and sees that the answer has as many bytes as the backend gives.
func ask(ctx context.Context, t http.RoundTripper, method, scheme, address, host, path string, body io.Reader, want int) error {
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+address+path, body)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || len(got) != want {
		return fmt.Errorf("%s %s://%s%s is answered with %s and %d bytes", method, scheme, host, path, resp.Status, len(got))
	}
	return nil
}

// call makes a call of gRPC.
func call(ctx context.Context, s *site) error {
	t := &http2.Transport{
		TLSClientConfig: &tls.Config{ServerName: grpcHost, InsecureSkipVerify: true},
		DialTLSContext: func(ctx context.Context, network, _ string, cfg *tls.Config) (net.Conn, error) {
			return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, s.HTTPS)
		},
	}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+grpcHost+"/bench.Bench/Call", bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if status := resp.Trailer.Get("Grpc-Status"); status != "0" {
		return fmt.Errorf("a call of gRPC is answered with %s and the status %q", resp.Status, status)
	}
	return nil
}
