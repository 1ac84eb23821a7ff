package dns

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func cached(name string, ttl uint32) *dns.Msg {
	m := answerA(question(name, dns.TypeA), "192.0.2.1")
	m.Answer[0].Header().Ttl = ttl
	return m
}

func TestCacheLifetimes(t *testing.T) {
	p := mustPolicy(t, "cache: {maxTTL: 100, maxNegativeTTL: 10, serveStale: 60s}").cache
	now := time.Unix(1e9, 0)
	negative := new(dns.Msg).SetRcode(question("no.example.", dns.TypeA), dns.RcodeNameError)
	negative.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 900}, Ns: "a.", Mbox: "b.", Minttl: 8}}
	denied := negative.Copy()
	denied.Ns = nil
	failed := new(dns.Msg).SetRcode(question("f.example.", dns.TypeA), dns.RcodeServerFailure)
	cut := cached("t.example.", 50)
	cut.Truncated = true
	for _, c := range []struct {
		what string
		m    *dns.Msg
		ttl  uint32 // 0: not kept
	}{
		{"an answer", cached("a.example.", 50), 50},
		{"an answer for longer than allowed", cached("b.example.", 5000), 100},
		{"an answer for no time", cached("c.example.", 0), 0},
		{"a name that is not there", negative, 8},
		{"the same without SOA", denied, 0},
		{"a failure", failed, 0},
		{"a cut answer", cut, 0},
	} {
		cache := newCache()
		cache.put("k", c.m, now, &p)
		e, state := cache.get([]byte("k"), now, &p)
		if (state == fresh) != (c.ttl > 0) {
			t.Errorf("%s: state %d", c.what, state)
			continue
		}
		if e == nil {
			continue
		}
		life := time.Duration(c.ttl) * time.Second
		if _, state = cache.get([]byte("k"), now.Add(life-time.Nanosecond), &p); state != fresh && state != due {
			t.Errorf("%s: just before its end: %d", c.what, state)
		}
		if e, state = cache.get([]byte("k"), now.Add(life), &p); state != stale {
			t.Errorf("%s: at its end: %d", c.what, state)
		} else if m := e.message(now.Add(life), stale); m.Rcode != c.m.Rcode || len(m.Answer) > 0 && m.Answer[0].Header().Ttl != staleTTL {
			t.Errorf("%s: stale: %v", c.what, m)
		}
		if _, state = cache.get([]byte("k"), now.Add(life+time.Minute), &p); state != missing || cache.entries.Load() != 0 {
			t.Errorf("%s: long after its end: %d", c.what, state)
		}
	}
}

func TestCachedRecordsAge(t *testing.T) {
	p := mustPolicy(t, "").cache
	c, now := newCache(), time.Unix(1e9, 0)
	c.put("k", cached("a.example.", 50), now, &p)
	e, state := c.get([]byte("k"), now.Add(20*time.Second), &p)
	if m := e.message(now.Add(20*time.Second), state); m.Answer[0].Header().Ttl != 30 {
		t.Errorf("got %v", m)
	}
}

func TestPopularAnswersAreRenewedOnce(t *testing.T) {
	p := mustPolicy(t, "").cache
	c, now := newCache(), time.Unix(1e9, 0)
	c.put("k", cached("a.example.", 100), now, &p)
	late := now.Add(95 * time.Second)
	var states []freshness
	for _, at := range []time.Time{now, late, late, late} {
		_, s := c.get([]byte("k"), at, &p)
		states = append(states, s)
	}
	if got, want := fmt.Sprint(states), fmt.Sprint([]freshness{fresh, due, fresh, fresh}); got != want {
		t.Errorf("states %s, want %s", got, want)
	}
	c.notRenewed("k")
	if _, s := c.get([]byte("k"), late, &p); s != due {
		t.Error("a renewal that failed is not tried again")
	}
}

func TestCacheIsBounded(t *testing.T) {
	p := mustPolicy(t, "cache: {maxBytes: 65536}").cache
	c, now := newCache(), time.Unix(1e9, 0)
	for i := range 20000 {
		name := fmt.Sprintf("host-%d.example.", i)
		c.put(name, cached(name, 300), now, &p)
		if c.bytes.Load() > int64(p.maxBytes) {
			t.Fatalf("%d bytes after %d answers", c.bytes.Load(), i)
		}
	}
	if c.evicted.Load() == 0 || c.entries.Load() == 0 {
		t.Errorf("%d evicted, %d kept", c.evicted.Load(), c.entries.Load())
	}
	if _, s := c.get([]byte("host-19999.example."), now, &p); s != fresh {
		t.Error("the newest was evicted")
	}
}

func TestTTLOffsetsOfNonsense(t *testing.T) {
	m := cached("a.example.", 50)
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for n := range wire {
		if _, ok := ttlOffsets(wire[:n]); ok {
			t.Errorf("%d of %d bytes are taken for a message", n, len(wire))
		}
	}
}
