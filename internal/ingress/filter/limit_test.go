package filter

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minato/internal/ingress/exchange"
)

// limit-rps, limit-rpm, limit-burst-multiplier: burst = limit × multiplier at once, besides the first as with nginx, then
// the rate; per client, Ingress and node; the status is the key's.
func TestLimitRates(t *testing.T) {
	for _, c := range []struct {
		pairs []string
		burst int
		every time.Duration
	}{
		{[]string{"limit-rps", "2"}, 10, 500 * time.Millisecond},
		{[]string{"limit-rps", "2", "limit-burst-multiplier", "1"}, 2, 500 * time.Millisecond},
		{[]string{"limit-rpm", "6", "limit-burst-multiplier", "2"}, 12, 10 * time.Second},
		{[]string{"limit-rps", "1", "limit-rpm", "6", "limit-burst-multiplier", "3"}, 3, 10 * time.Second},
	} {
		b := newBed(t).on("h.test /", c.pairs...).on("other.test /", c.pairs...)
		passed := 0
		for range c.burst + 10 {
			if b.ask("GET", "http://h.test/").status == 0 {
				passed++
			}
		}
		if passed != c.burst+1 {
			t.Errorf("%v: %d pass at once, want %d", c.pairs, passed, c.burst+1)
		}
		b.ask("GET", "http://h.test/").want(t, 503, "")
		if b.from("192.0.2.2", "GET", "http://h.test/").status != 0 || b.ask("GET", "http://other.test/").status != 0 {
			t.Errorf("%v: another client or Ingress is refused", c.pairs)
		}
		if c.pairs[0] == "limit-rps" && len(c.pairs) > 4 {
			continue
		}
		for range 5 {
			b.now = b.now.Add(c.every)
			b.ask("GET", "http://h.test/").want(t, 0, "")
			b.ask("GET", "http://h.test/").want(t, 503, "")
		}
	}
}

// limit-req-status-code, limit-conn-status-code; limit-whitelist; 503 comes before 401.
func TestLimitStatus(t *testing.T) {
	b := newBed(t).set("limit-req-status-code", "429").set("limit-conn-status-code", "420").
		on("h.test /", "limit-rps", "1", "limit-burst-multiplier", "1", "limit-whitelist", "198.51.100.0/24", "denylist-source-range", "0.0.0.0/0").
		on("c.test /", "limit-connections", "1")
	b.ask("GET", "http://h.test/").want(t, 403, "")
	b.ask("GET", "http://h.test/").want(t, 403, "")
	b.ask("GET", "http://h.test/").want(t, 429, "")
	for range 5 {
		b.from("198.51.100.7", "GET", "http://h.test/").want(t, 403, "")
	}
	b.ask("GET", "http://c.test/").want(t, 0, "")
	b.ask("GET", "http://c.test/").want(t, 420, "")
}

// limit-connections, portable assertion 36: 8 of 20 at a time. One ends when its exchange does.
func TestLimitConnections(t *testing.T) {
	b := newBed(t).on("h.test /", "limit-connections", "8").build()
	var open []*exchange.Exchange
	count := map[int]int{}
	for range 20 {
		r := b.ask("GET", "http://h.test/")
		count[r.status]++
		open = append(open, r.x)
	}
	if count[0] != 8 || count[503] != 12 {
		t.Errorf("%v, want 8 × 0 and 12 × 503", count)
	}
	for _, x := range open {
		x.Done()
		x.Done() // it ends once
	}
	for range 8 {
		b.ask("GET", "http://h.test/").want(t, 0, "")
	}
	b.ask("GET", "http://h.test/").want(t, 503, "")
}

// A flood of addresses takes no more memory than there is, and nobody who has requests under way is forgotten.
func TestLimitFlood(t *testing.T) {
	l := newLimiter(limitShards * 32)
	busy := l.key("ns", "ing", netip.MustParseAddr("2001:db8::1"))
	release, v := l.take(busy, 1, rate{}, rate{}, 1)
	if v != passes {
		t.Fatal("the first one is refused")
	}
	a := netip.MustParseAddr("2001:db8:1::").As16()
	for i := range 100_000 {
		a[13], a[14], a[15] = byte(i>>16), byte(i>>8), byte(i)
		if _, v := l.take(l.key("ns", "ing", netip.AddrFrom16(a)), 1, rateOf(1, 1, time.Second), rate{}, 0); v != passes {
			t.Fatalf("client %d is refused", i)
		}
	}
	used := 0
	for i := range l.shards {
		s := &l.shards[i]
		if len(s.index) != len(s.entries) || len(s.entries) > s.most {
			t.Fatalf("shard %d has %d entries and %d keys", i, len(s.entries), len(s.index))
		}
		used += len(s.entries)
	}
	if used != limitShards*32 {
		t.Errorf("%d entries are in use, want all %d", used, limitShards*32)
	}
	if _, v := l.take(busy, 1, rate{}, rate{}, 1); v != tooMany {
		t.Error("a client with a request under way was forgotten")
	}
	release()
	if _, v := l.take(busy, 1, rate{}, rate{}, 1); v != passes {
		t.Error("it is refused after its request has ended")
	}
	// Where all have requests under way, others are refused.
	small := newLimiter(1)
	refused := 0
	for i := range 1000 {
		a[14], a[15] = byte(i>>8), byte(i)
		if _, v := small.take(small.key("ns", "ing", netip.AddrFrom16(a)), 1, rate{}, rate{}, 1); v == tooMany {
			refused++
		}
	}
	if refused != 1000-limitShards {
		t.Errorf("%d are refused, want %d", refused, 1000-limitShards)
	}
}

// Clients at the same time: no more than the limit are let through, none is lost. (Meant for the race detector, too.)
func TestLimitConcurrent(t *testing.T) {
	l := newLimiter(limitShards * 4)
	k := l.key("ns", "ing", netip.MustParseAddr("192.0.2.1"))
	var open, most, passed atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				other := l.key("ns", "ing", netip.AddrFrom4([4]byte{10, byte(g), byte(i >> 8), byte(i)}))
				l.take(other, 1, rateOf(1, 1, time.Second), rate{}, 0)
				release, v := l.take(k, 1, rate{}, rate{}, 3)
				if v != passes {
					continue
				}
				n := open.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				passed.Add(1)
				open.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 || passed.Load() == 0 {
		t.Errorf("%d at a time, %d in all", most.Load(), passed.Load())
	}
	for range 3 {
		if _, v := l.take(k, 1, rate{}, rate{}, 3); v != passes {
			t.Error("a request that has ended is counted")
		}
	}
	// A rate lets exactly its burst through, whoever asks.
	var fast atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if _, v := l.take(l.key("ns", "rate", netip.MustParseAddr("192.0.2.1")), 1, rateOf(10, 5, time.Second), rate{}, 0); v == passes {
					fast.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if fast.Load() != 51 {
		t.Errorf("%d pass, want 51", fast.Load())
	}
}

func TestRateOf(t *testing.T) {
	for _, c := range []struct {
		n, multiplier int
		want          rate
	}{
		{0, 5, rate{}}, {-1, 5, rate{}}, {1, 1, rate{1e9, 1e9}}, {10, 0, rate{1e8, 5e9}},
		{1 << 31, 1 << 31, rate{1, 1e15}},
	} {
		if got := rateOf(c.n, c.multiplier, time.Second); got != c.want {
			t.Errorf("%d × %d: %v, want %v", c.n, c.multiplier, got, c.want)
		}
	}
}

// denylist-source-range, allowlist-source-range: 403, deny first, portable assertion 35. What the client's address is, is
// the proxy's to say.
func TestAddresses(t *testing.T) {
	b := newBed(t).on("h.test /", "denylist-source-range", "198.51.100.0/24, 192.0.2.7", "allowlist-source-range", "192.0.2.0/24, 2001:db8::/32").
		on("d.test /", "denylist-source-range", "198.51.100.0/24").on("a.test /", "whitelist-source-range", "10.0.0.0/8").
		on("n.test /", "allowlist-source-range", ",")
	for _, c := range []struct {
		client, host string
		want         int
	}{
		{"192.0.2.1", "h", 0}, {"::ffff:192.0.2.1", "h", 0}, {"192.0.2.7", "h", 403}, {"198.51.100.1", "h", 403}, {"203.0.113.1", "h", 403},
		{"2001:db8::1", "h", 0}, {"2001:db9::1", "h", 403}, {"::192.0.2.1", "h", 403},
		{"198.51.100.1", "d", 403}, {"203.0.113.1", "d", 0}, {"10.1.2.3", "a", 0}, {"11.1.2.3", "a", 403}, {"10.1.2.3", "n", 403},
	} {
		if got := b.from(c.client, "GET", "http://"+c.host+".test/"); got.status != c.want {
			t.Errorf("%s at %s: %d, want %d", c.client, c.host, got.status, c.want)
		}
	}
	x := b.exchange("GET", "http://d.test/")
	x.Client = netip.AddrPort{}
	b.run(x).want(t, 403, "") // it isn't known who it is
}

// hooked is an exchange that the hooks of a benchmark are called with.
func hooked(b *testing.B, pairs ...string) (*bed, *exchange.Exchange) {
	bd := newBed(b).on("h.test /", pairs...)
	x := bd.exchange("GET", "http://h.test/some/path?a=b", "User-Agent: curl/8", "Accept: */*")
	x.Header.ShareTo(&x.Forward)
	return bd, x
}

func BenchmarkNoFilter(b *testing.B) {
	bd, x := hooked(b)
	h := bd.filters.Hooks()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if h.First(ctx, x) != nil || h.Redirect(ctx, x) != nil || h.Access(ctx, x) != nil {
			b.Fatal("an answer")
		}
	}
}

func BenchmarkLimit(b *testing.B) {
	for _, c := range []struct {
		name  string
		pairs []string
	}{
		{"rps", []string{"limit-rps", "1000000000", "limit-burst-multiplier", "1000"}},
		{"connections", []string{"limit-connections", "10"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			bd, x := hooked(b, c.pairs...)
			h := bd.filters.Hooks()
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if h.Access(ctx, x) != nil {
					b.Fatal("an answer")
				}
				x.Done()
			}
		})
	}
	b.Run("flood", func(b *testing.B) {
		bd, x := hooked(b, "limit-rps", "1")
		h := bd.filters.Hooks()
		ctx := context.Background()
		a := netip.MustParseAddr("2001:db8::").As16()
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			i++
			a[12], a[13], a[14], a[15] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
			x.Client = netip.AddrPortFrom(netip.AddrFrom16(a), 1)
			if h.Access(ctx, x) != nil {
				b.Fatal("an answer")
			}
		}
	})
}

// Requests for which nothing is asked, and those that are counted, cost no memory.
func TestNoAllocations(t *testing.T) {
	for _, c := range [][]string{
		nil, {"limit-rps", "1000000000", "limit-burst-multiplier", "1000"}, {"limit-connections", "5"}, {"allowlist-source-range", "192.0.2.0/24"},
		{"enable-cors", "true", "cors-allow-origin", "https://a.test"}, {"ssl-redirect", "true"},
	} {
		b := newBed(t).on("h.test /", c...)
		x := b.exchange("GET", "http://h.test/some/path?a=b", "Origin: https://b.test")
		x.Header.ShareTo(&x.Forward)
		h := b.filters.Hooks()
		ctx := context.Background()
		if n := testing.AllocsPerRun(100, func() {
			if h.First(ctx, x) != nil || h.Redirect(ctx, x) != nil || h.Access(ctx, x) != nil {
				t.Fatal("an answer")
			}
			x.Done()
		}); n != 0 {
			t.Errorf("%v: %v allocations", c, n)
		}
	}
}
