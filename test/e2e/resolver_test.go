package e2e

import (
	"net"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// resolver ADDRESS NAME IP: answers DNS questions there until the script ends, as
// a resolver outside of the cluster that knows one name.
func resolver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: resolver ADDRESS NAME IP")
	}
	name, ip := dns.Fqdn(args[1]), net.ParseIP(args[2])
	answer := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		switch {
		case dns.CanonicalName(q.Question[0].Name) != name:
			m.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: ip}}
		}
		_ = w.WriteMsg(m) // the asker may have gone
	}
	conn, err := net.ListenPacket("udp", args[0])
	ts.Check(err)
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer)}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go s.ActivateAndServe()
	<-started
	ts.Defer(func() { ts.Check(s.Shutdown()) })
}
