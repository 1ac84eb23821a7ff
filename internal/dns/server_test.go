package dns

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"minato/internal/host/limit"
)

func TestAnswersOverUDPAndTCP(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}})
	for _, network := range []string{"udp", "tcp"} {
		in := query(t, network, addr, question("WEB.default.svc.cluster.local.", dns.TypeA))
		if len(in.Answer) != 1 || !strings.HasSuffix(in.Answer[0].String(), "10.96.1.1") {
			t.Fatalf("%s: %v", network, in)
		}
		if h := in.Answer[0].Header(); h.Name != "WEB.default.svc.cluster.local." || h.Ttl != 30 {
			t.Errorf("%s: header %v", network, h)
		}
		if !in.Authoritative || !in.RecursionAvailable || !in.Response || in.IsEdns0() != nil {
			t.Errorf("%s: flags %v", network, in.MsgHdr)
		}
		in = query(t, network, addr, question("nope.default.svc.cluster.local.", dns.TypeA))
		if in.Rcode != dns.RcodeNameError || len(in.Ns) != 1 {
			t.Errorf("%s: %v", network, in)
		}
	}
}

func TestTruncation(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}})
	many := func(edns uint16) *dns.Msg {
		m := question("many.default.svc.cluster.local.", dns.TypeA)
		if edns > 0 {
			m.SetEdns0(edns, false)
		}
		return m
	}
	for _, c := range []struct {
		edns uint16
		max  int
	}{{0, 512}, {512, 512}, {100, 512}, {900, 900}, {1232, 1232}, {65000, 1232}} {
		in := query(t, "udp", addr, many(c.edns))
		in.Compress = true
		if !in.Truncated || len(in.Answer) == 0 || in.Len() > c.max {
			t.Errorf("edns %d: truncated %t, %d answers, %d bytes", c.edns, in.Truncated, len(in.Answer), in.Len())
		}
		if (in.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("edns %d: OPT %v", c.edns, in.IsEdns0())
		}
	}
	in := query(t, "tcp", addr, many(0))
	if in.Truncated || len(in.Answer) != 300 {
		t.Errorf("tcp: truncated %t, %d answers", in.Truncated, len(in.Answer))
	}
}

func TestAdditionalRecordsGoFirst(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}})
	m := question("_http._tcp.few.default.svc.cluster.local.", dns.TypeSRV)
	m.SetEdns0(900, false)
	in := query(t, "udp", addr, m)
	if in.Truncated || len(in.Answer) != 12 || len(in.Extra) != 1 {
		t.Errorf("truncated %t, %d answers, %d additional", in.Truncated, len(in.Answer), len(in.Extra))
	}
	if in = query(t, "tcp", addr, m); len(in.Extra) != 13 {
		t.Errorf("tcp: %d additional records", len(in.Extra))
	}
}

func TestAddressesAreShuffled(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}})
	first := map[string]bool{}
	for range 60 { // all the same with a probability of 12^-59
		in := query(t, "tcp", addr, question("few.default.svc.cluster.local.", dns.TypeA))
		first[in.Answer[0].String()] = true
	}
	if len(first) < 2 {
		t.Errorf("the same address came first every time: %v", first)
	}
}

func TestRefusals(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}})
	chaos := question("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	update := question("cluster.local.", dns.TypeSOA)
	update.Opcode = dns.OpcodeUpdate
	future := question("web.default.svc.cluster.local.", dns.TypeA)
	future.SetEdns0(1232, false)
	future.IsEdns0().SetVersion(7)
	for _, c := range []struct {
		what string
		m    *dns.Msg
		want int
	}{
		{"another class", chaos, dns.RcodeRefused},
		{"an update", update, dns.RcodeNotImplemented},
		{"an EDNS version to come", future, dns.RcodeBadVers},
		{"a zone transfer", question("cluster.local.", dns.TypeAXFR), dns.RcodeRefused},
		{"a foreign name without upstreams", question("example.com.", dns.TypeA), dns.RcodeRefused},
	} {
		if in := query(t, "tcp", addr, c.m); in.Rcode != c.want {
			t.Errorf("%s: %s, want %s", c.what, dns.RcodeToString[in.Rcode], dns.RcodeToString[c.want])
		}
	}
}

func TestBeforeTheFirstSync(t *testing.T) {
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.1") })
	addr := startServer(t, ServerConfig{Source: fixedSource{nil}, Upstreams: StaticUpstreams(up.addr)})
	for _, name := range []string{"web.default.svc.cluster.local.", "cluster.local.", "1.1.96.10.in-addr.arpa."} {
		m := question(name, dns.TypeA)
		m.SetEdns0(1232, false)
		in := query(t, "udp", addr, m)
		if in.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %s", name, dns.RcodeToString[in.Rcode])
		}
		ede, ok := in.IsEdns0().Option[0].(*dns.EDNS0_EDE)
		if !ok || ede.InfoCode != dns.ExtendedErrorCodeNotReady {
			t.Errorf("%s: no reason given: %v", name, in)
		}
	}
	if in := query(t, "udp", addr, question("example.com.", dns.TypeA)); len(in.Answer) != 1 {
		t.Errorf("a foreign name has to wait: %v", in)
	}
}

func TestNewServerRefuses(t *testing.T) {
	l, p := loopback(t)
	defer l.Close()
	defer p.Close()
	source := fixedSource{testZone(t)}
	for what, cfg := range map[string]ServerConfig{
		"no source": {Domain: "cluster.local", Listeners: []net.Listener{l}},
		"no socket": {Domain: "cluster.local", Source: source},
		"no domain": {Source: source, PacketConns: []net.PacketConn{p}},
	} {
		if _, err := NewServer(cfg); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func FuzzServe(f *testing.F) {
	l, p := loopback(f)
	f.Cleanup(func() { l.Close(); p.Close() })
	s, err := NewServer(ServerConfig{Source: fixedSource{testZone(f)}, Domain: "cluster.local", Listeners: []net.Listener{l}, PacketConns: []net.PacketConn{p}})
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"web.default.svc.cluster.local.", "many.default.svc.cluster.local.", "ext.default.svc.cluster.local.", "1.1.96.10.in-addr.arpa.", "example.com."} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeANY, dns.TypePTR} {
			m := question(name, typ)
			m.SetEdns0(700, true)
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, true)
			f.Add(b, false)
		}
	}
	loop := s.packets[0]
	f.Fuzz(func(t *testing.T, b []byte, overTCP bool) {
		limit := maxUDPSize
		if overTCP {
			limit = dns.MaxMsgSize
		}
		req := new(dns.Msg)
		readable := req.Unpack(b) == nil
		check := func(way string, reply []byte) {
			if len(reply) > limit && len(req.Question) == 1 {
				t.Fatalf("%s: %d bytes, the limit is %d", way, len(reply), limit)
			}
			resp := new(dns.Msg)
			if err := resp.Unpack(reply); err != nil {
				t.Fatalf("%s: the answer cannot be read: %v", way, err)
			}
			if resp.Id != req.Id || !resp.Response {
				t.Fatalf("%s: not an answer to the question: %v", way, resp)
			}
		}
		if q, ok := loop.parse(b); ok && !overTCP {
			if reply := loop.short(b, &q, time.Now()); reply != nil {
				if !readable {
					t.Fatalf("answered a message that cannot be read: %x", b)
				}
				if len(reply) > q.size {
					t.Fatalf("%d bytes, the client takes %d", len(reply), q.size)
				}
				check("short", reply)
			}
		}
		if !readable {
			return
		}
		reply, err := s.respond(context.Background(), req, request{overTCP: overTCP}).Pack()
		if err != nil {
			return // the question itself cannot be packed again
		}
		check("long", reply)
	})
}

func BenchmarkServe(b *testing.B) {
	l, p := loopback(b)
	b.Cleanup(func() { l.Close(); p.Close() })
	s, err := NewServer(ServerConfig{Source: fixedSource{testZone(b)}, Domain: "cluster.local", Listeners: []net.Listener{l}, PacketConns: []net.PacketConn{p}})
	if err != nil {
		b.Fatal(err)
	}
	loop := s.packets[0]
	for _, name := range []string{"web.default.svc.cluster.local.", "few.default.svc.cluster.local.", "nope.default.svc.cluster.local."} {
		b.Run(name, func(b *testing.B) {
			msg, err := question(name, dns.TypeA).Pack()
			if err != nil {
				b.Fatal(err)
			}
			from, now := p.LocalAddr(), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if loop.handle(msg, from, now) == nil {
					b.Fatal("not answered on the spot")
				}
			}
		})
	}
}

// A socket on every address gets IPv4 and IPv6 clients alike.
func TestAnswersOnEveryAddress(t *testing.T) {
	p, err := net.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ServerConfig{Source: fixedSource{testZone(t)}, Domain: "cluster.local", PacketConns: []net.PacketConn{p}})
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, s.Run)
	_, port, err := net.SplitHostPort(p.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		if c, err := net.Dial("udp", net.JoinHostPort(host, port)); err != nil {
			continue // a machine without IPv6
		} else {
			c.Close()
		}
		for _, name := range []string{"web.default.svc.cluster.local.", "_http._tcp.web.default.svc.cluster.local."} {
			in := query(t, "udp", net.JoinHostPort(host, port), question(name, dns.TypeA))
			if in.Rcode != dns.RcodeSuccess {
				t.Errorf("%s: %v", host, in)
			}
		}
	}
	if err := s.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// Told to end, the server answers on for a while and says that it is not ready.
func TestLameduck(t *testing.T) {
	l, p := loopback(t)
	const lameduck = time.Second
	s, err := NewServer(ServerConfig{Source: fixedSource{testZone(t)}, Domain: "cluster.local", Listeners: []net.Listener{l}, PacketConns: []net.PacketConn{p}, Lameduck: lameduck})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	waitFor(t, func() bool { return s.Ready() == nil })
	addr := p.LocalAddr().String()
	told := time.Now()
	end()
	waitFor(t, func() bool { return s.Ready() != nil })
	for _, network := range []string{"udp", "tcp"} {
		if in := query(t, network, addr, question("web.default.svc.cluster.local.", dns.TypeA)); len(in.Answer) != 1 {
			t.Errorf("%s: %v", network, in)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(told); took < lameduck {
		t.Errorf("it ended after %s", took)
	}
}

// TestFloodOverTCP holds connections from one address, while another one asks.
func TestFloodOverTCP(t *testing.T) {
	limits, err := limit.New(limit.Config{Descriptors: 1024})
	if err != nil {
		t.Fatal(err)
	}
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Limits: limits})
	from := func(ip string) *net.Dialer {
		return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 10 * time.Second}
	}
	for range 1000 {
		if c, err := from("127.0.0.2").Dial("tcp", addr); err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	client := dns.Client{Net: "tcp", Dialer: from("127.0.0.3"), Timeout: 10 * time.Second}
	in, _, err := client.Exchange(question("web.default.svc.cluster.local.", dns.TypeA), addr)
	if err != nil || len(in.Answer) != 1 {
		t.Errorf("another client's answer is %v, %v", in, err)
	}
	if s := limits.State(); s.Refused == 0 || s.Nodes > s.NodesLimit/4+1 {
		t.Errorf("state = %+v, want refused connections, and not more open than one source may have", s)
	}
}
