package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// The names of the servers, which are what they answer.
const (
	first  = "first"
	second = "second"
)

// server answers every request with its name.
type server struct {
	address netip.AddrPort
	http    http.Server
	done    chan error
}

// newServer serves at a free port of the address.
func newServer(name string, at netip.Addr) (*server, error) {
	l, err := net.Listen("tcp4", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		return nil, fmt.Errorf("start the server %s: %w", name, err)
	}
	s := &server{done: make(chan error, 1)}
	if s.address, err = netip.ParseAddrPort(l.Addr().String()); err != nil {
		l.Close()
		return nil, fmt.Errorf("start the server %s: %w", name, err)
	}
	s.http = http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, name) // who asked will notice
		}),
	}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// close ends it, and tells if it has ended before.
func (s *server) close() error {
	select {
	case err := <-s.done:
		return fmt.Errorf("a server has ended before: %w", err)
	default:
	}
	err := s.http.Close()
	<-s.done
	return err
}
