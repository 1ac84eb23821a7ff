package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync/atomic"
	"time"
)

// identity is who answers.
type identity struct{ pod, node, ip string }

// whoAmI takes what the Pod's spec passes on in the environment; without, the
// host name is the Pod's name.
func whoAmI() identity {
	id := identity{pod: os.Getenv("POD_NAME"), node: os.Getenv("NODE_NAME"), ip: os.Getenv("POD_IP")}
	if id.pod == "" {
		if name, err := os.Hostname(); err == nil {
			id.pod = name
		}
	}
	if id.node == "" {
		id.node = "unknown"
	}
	return id
}

// line is the answer; local is the address that was reached.
func (id identity) line(local net.Addr) string {
	ip := id.ip
	if ip == "" && local != nil {
		if host, _, err := net.SplitHostPort(local.String()); err == nil {
			ip = host
		}
	}
	if ip == "" { // a datagram's socket listens on every address and does not tell which was meant
		return fmt.Sprintf("pod %s on node %s\n", id.pod, id.node)
	}
	return fmt.Sprintf("pod %s on node %s (%s)\n", id.pod, id.node, ip)
}

type server struct {
	id       identity
	delay    time.Duration
	stopping atomic.Bool // asked to end: not ready any more
	leaving  atomic.Bool // connections end with the next answer
}

func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := flags.String("listen", ":8080", "address for HTTP (TCP) and UDP")
	delay := flags.Duration("delay", 0, "wait before each HTTP answer")
	drain := flags.Duration("drain", 0, "go on answering so long after SIGTERM, with /healthz failing, and ending connections with their next answer in the second half")
	if err := flags.Parse(args); err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", *listen)
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	s := &server{id: whoAmI(), delay: *delay}
	slog.Info("answering", "address", tcp.Addr().String(), "pod", s.id.pod, "node", s.id.node)
	return s.run(ctx, tcp, udp, *drain)
}

func (s *server) run(ctx context.Context, tcp net.Listener, udp net.PacketConn, drain time.Duration) error {
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- web.Serve(tcp) }()
	go func() { failed <- s.echo(udp) }()
	select {
	case err := <-failed:
		return errors.Join(err, web.Close(), udp.Close())
	case <-ctx.Done():
	}
	// What routes to here must have time to hear of it; then clients are told.
	for _, said := range []*atomic.Bool{&s.stopping, &s.leaving} {
		said.Store(true)
		select {
		case <-time.After(drain / 2):
		case err := <-failed:
			return err
		}
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(web.Shutdown(last), udp.Close())
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if s.stopping.Load() {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, requestText(r))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.delay > 0 {
			select {
			case <-time.After(s.delay):
			case <-r.Context().Done():
				return
			}
		}
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, s.id.line(local))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		mux.ServeHTTP(w, r)
	})
}

// requestText is what arrived: which address the client seems to have, and what
// a proxy on the way added.
func requestText(r *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\nfrom %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.RemoteAddr, r.Host)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, v := range r.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	return b.String()
}

// echo answers every datagram with who got it.
func (s *server) echo(c net.PacketConn) error {
	buf := make([]byte, 2048)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo([]byte(s.id.line(nil)), from); err != nil {
			slog.Warn("datagram not answered", "client", from.String(), "error", err)
		}
	}
}
