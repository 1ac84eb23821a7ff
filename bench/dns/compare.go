package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"minato/test/stock"
)

// compareServers asks both servers the same questions about what one API server
// has. It fails if an answer differs and nobody meant it to.
func compareServers(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "bench-dns-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	api, err := stock.Start(ctx, filepath.Join(dir, "api"), stock.Options{ServiceCIDR: "10.96.0.0/16,fd00:96::/112"})
	if err != nil {
		return err
	}
	defer api.Close()
	if err := store(ctx, api.Client(), compareWorld()); err != nil {
		return err
	}
	w := &world{dir: dir, kubeconfig: api.Kubeconfig()}
	if err := w.startResolver(); err != nil {
		return err
	}
	defer w.close()
	var pair [2]*process
	for i, s := range []server{coreDNS(o.coredns), minatoDNS(o.minato)} {
		if pair[i], err = s.start(ctx, w); err != nil {
			return err
		}
		defer pair[i].stop()
	}
	c := comparison{meant: make([]int, len(intended))}
	for _, q := range compareQuestions() {
		if err := c.ask(pair, q); err != nil {
			return err
		}
	}
	return c.report()
}

// comparison counts what differs.
type comparison struct {
	questions, surprises int
	meant                []int // as intended
}

func (c *comparison) ask(pair [2]*process, q dns.Question) error {
	c.questions++
	var answers [2]*dns.Msg
	var gists [2]string
	for i, p := range pair {
		var err error
		if answers[i], err = p.resolve(q); err != nil {
			return fmt.Errorf("%s %s: %w", q.Name, dns.TypeToString[q.Qtype], err)
		}
		gists[i] = gist(answers[i])
	}
	if gists[0] == gists[1] {
		return nil
	}
	for i, d := range intended {
		if d.fits(q, answers[0], answers[1]) {
			c.meant[i]++
			return nil
		}
	}
	c.surprises++
	fmt.Printf("%s %s\n  coredns: %s\n  minato:  %s\n", q.Name, dns.TypeToString[q.Qtype], gists[0], gists[1])
	return nil
}

// report also fails on an intended difference that no question shows: then it is
// gone, or was none.
func (c *comparison) report() error {
	fmt.Printf("%d questions, %d unintended differences\n", c.questions, c.surprises)
	unseen := 0
	for i, n := range c.meant {
		fmt.Printf("%d intended: %s\n", n, intended[i].why)
		if n == 0 {
			unseen++
		}
	}
	if c.surprises > 0 || unseen > 0 {
		return fmt.Errorf("%d answers differ from CoreDNS's, and %d intended differences are not there", c.surprises, unseen)
	}
	return nil
}

// resolve asks as a resolver does: over TCP if the answer does not fit otherwise.
func (p *process) resolve(q dns.Question) (*dns.Msg, error) {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id(), RecursionDesired: true}, Question: []dns.Question{q}}
	in, err := p.ask("udp", m)
	if err == nil && in.Truncated {
		if in, err = p.ask("tcp", m); err == nil {
			in.Truncated = true // for the comparison: both have to say so
		}
	}
	return in, err
}

// gist is what matters of an answer: its code, its records without order, and
// whether a negative one has its SOA record.
func gist(m *dns.Msg) string {
	var records []string
	for _, rr := range m.Answer {
		if srv, ok := rr.(*dns.SRV); ok {
			srv.Weight = 0 // a share, made differently
		}
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Serial = 0
		}
		rr.Header().Ttl = min(rr.Header().Ttl, 30) // what an upstream gave may be kept for different times
		records = append(records, strings.ToLower(strings.Join(strings.Fields(rr.String()), " ")))
	}
	slices.Sort(records)
	records = slices.Compact(records)
	soa := 0
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			soa++
		}
	}
	return fmt.Sprintf("%s aa=%t tc=%t soa=%d %s", dns.RcodeToString[m.Rcode], m.Authoritative, m.Truncated, soa, strings.Join(records, "; "))
}
