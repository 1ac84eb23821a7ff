package filter

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// afterNow is the time of the tests.
var afterNow = time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)

// newTestAfter makes an after with a seeded source of chance.
func newTestAfter(t testing.TB, change func(*afterConfig)) *after {
	t.Helper()
	cfg := afterConfig{
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return afterNow },
		Random: rand.New(rand.NewPCG(1, 2)).Uint64,
	}
	if change != nil {
		change(&cfg)
	}
	a, err := newAfter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// running has mirrors sent until the test ends.
func (a *after) running(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("run does not end")
		}
	})
}

// afterExchange makes an exchange for a Location, with fields of the request.
func afterExchange(loc *table.Location, fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{
		Method: "GET", Target: "/shop/a?b=1", Path: "/shop/a", Query: "b=1", HTTPHost: "a.example", Host: "a.example", Scheme: "http",
		Header: &h1.Header{}, Response: &h1.Header{}, Settings: &table.Settings{}, Version: exchange.HTTP11,
		Client: netip.MustParseAddrPort("192.0.2.7:4711"), RequestID: "0123456789abcdef0123456789abcdef", FromBackend: true, Status: 200,
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if err := x.Header.AddName(fields[i], fields[i+1]); err != nil {
			panic(err)
		}
	}
	x.Header.ShareTo(&x.Forward)
	u := &table.Upstream{BackendRef: table.BackendRef{Namespace: "d", Service: "web", Port: "80"}}
	x.Route = &table.Route{Namespace: "d", Ingress: "shop", Host: "a.example", Path: "/shop", Backend: u, Location: loc}
	x.Upstream = u
	return x
}

// next makes the exchange one of the same client with a cookie, as Set-Cookie wants it.
func withCookie(x *exchange.Exchange, setCookie string) *exchange.Exchange {
	pair, _, _ := strings.Cut(setCookie, ";")
	x.Header = &h1.Header{}
	if err := x.Header.AddName("Cookie", "x=1; "+pair+"; y=2"); err != nil {
		panic(err)
	}
	return x
}

// endpoints are Candidates.
type endpoints struct {
	all            []netip.AddrPort
	tried, failing map[int]bool
	loads          map[int]int
	state          exchange.State
	generation     uint64
}

func newEndpoints(n int) *endpoints {
	e := &endpoints{tried: map[int]bool{}, failing: map[int]bool{}, loads: map[int]int{}}
	for i := range n {
		e.all = append(e.all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 8080))
	}
	return e
}

// without is the set without one of its endpoints.
func (e *endpoints) without(i int) *endpoints {
	n := newEndpoints(0)
	n.all = append(append(n.all, e.all[:i]...), e.all[i+1:]...)
	n.generation = e.generation + 1
	return n
}

func (e *endpoints) Len() int                     { return len(e.all) }
func (e *endpoints) Address(i int) netip.AddrPort { return e.all[i] }
func (e *endpoints) Tried(i int) bool             { return e.tried[i] }
func (e *endpoints) Failing(i int) bool           { return e.failing[i] }
func (e *endpoints) Load(i int) int               { return e.loads[i] }
func (e *endpoints) Latency(int) int64            { return 0 }
func (e *endpoints) Generation() uint64           { return e.generation }
func (e *endpoints) State() *exchange.State       { return &e.state }

// setCookies are the answer's.
func setCookies(x *exchange.Exchange) (all []string) {
	for v := range x.Response.Values("Set-Cookie") {
		all = append(all, string(v))
	}
	return all
}

// answerFields are the answer's header, one field on a line.
func answerFields(x *exchange.Exchange) string {
	var s strings.Builder
	for i := range x.Response.Len() {
		n, v := x.Response.Field(i)
		s.WriteString(string(n) + ": " + string(v) + "\n")
	}
	return s.String()
}

// textOf makes a Text: a string is a literal, a Var a variable, and a Part itself.
func textOf(parts ...any) *table.Text {
	t := &table.Text{}
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			t.Parts = append(t.Parts, table.Part{Literal: p})
		case table.Var:
			t.Parts = append(t.Parts, table.Part{Var: p})
		case table.Part:
			t.Parts = append(t.Parts, p)
		}
	}
	return t
}

func numbered(prefix string, n int) string { return prefix + strconv.Itoa(n) }

func testContext() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}
