package filter

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func basicField(credentials string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

// Hashes of bcrypt: their names have the cost.
const (
	colon4 = "$2a$04$louSzHb/p/s2SOQT0QoIguyndPEc6bur9imL9r0F4krBB2mpAT8u." // pw:with colon
	pw4    = "$2a$04$ZfgJSjncgCAPoqJQPRA8tefDWlBxQMqe75jYMxcpWNvNt4qnbj64m" // pw
	pw10   = "$2a$10$fNIpgClhw9BNiR9nkEMZ4eat6SNALIpZArIMIsakMws1I49Sdr1VC" // pw
	other4 = "$2a$04$aBpexnCcV7R5//kSnO0fcO8JFT0crvViCtvikPwg9x6.JF9uhpDhC" // other
)

// auth-type: basic, auth-secret, auth-secret-type, auth-realm, portable assertion 24.
func TestBasic(t *testing.T) {
	file := "ann:" + colon4 + "\nbob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\ncat:$apr1$zzzz\n"
	b := newBed(t).on("h.test /", "auth-type", "basic", "auth-secret", "users", "auth-realm", `the "shop"`).
		on("m.test /", "auth-type", "basic", "auth-secret", "map", "auth-secret-type", "auth-map").
		on("none.test /", "auth-type", "basic", "auth-secret", "missing").on("bad.test /", "auth-type", "basic", "auth-secret", "broken")
	b.secrets["users"] = map[string]string{"auth": file}
	b.secrets["map"] = map[string]string{"dan": "{PLAIN}pw"}
	b.secrets["broken"] = map[string]string{"auth": "ann:not-a-hash"}
	for _, c := range []struct {
		host   string
		fields []string
		want   int
	}{
		{"h", nil, 401},
		{"h", []string{basicField("ann:pw:with colon")}, 0},
		{"h", []string{basicField("ann:pw:with colon")}, 0}, // remembered
		{"h", []string{basicField("ann:pw")}, 401},
		{"h", []string{basicField("ann:pw")}, 401},
		{"h", []string{basicField("ann:")}, 401},
		{"h", []string{basicField("ann")}, 401},
		{"h", []string{basicField(":pw:with colon")}, 401},
		{"h", []string{basicField(":")}, 401},
		{"h", []string{basicField("")}, 401},
		{"h", []string{basicField("bob:test")}, 0},
		{"h", []string{basicField("BOB:test")}, 401},
		{"h", []string{basicField("cat:pw")}, 401},
		{"h", []string{basicField("eve:pw:with colon")}, 401},
		{"h", []string{basicField("bob\x00:test")}, 401},
		{"h", []string{"authorization: bAsIc   " + base64.RawStdEncoding.EncodeToString([]byte("bob:test"))}, 0},
		{"h", []string{"Authorization: Basic !!!"}, 401},
		{"h", []string{"Authorization: Basic"}, 401},
		{"h", []string{"Authorization: Bearer " + base64.StdEncoding.EncodeToString([]byte("bob:test"))}, 401},
		{"h", []string{"Authorization: Basic" + base64.StdEncoding.EncodeToString([]byte("bob:test"))}, 401},
		// Which of two is meant isn't known.
		{"h", []string{basicField("bob:test"), "+" + basicField("bob:test")}, 401},
		{"h", []string{basicField("bob:test"), "+Authorization: Bearer x"}, 401},
		{"m", []string{basicField("dan:pw")}, 0},
		{"m", []string{basicField("dan:pw2")}, 401},
		{"none", []string{basicField("bob:test")}, 503},
		{"bad", []string{basicField("ann:not-a-hash")}, 401},
	} {
		r := b.ask("GET", "http://"+c.host+".test/", c.fields...)
		if r.status != c.want {
			t.Errorf("%s %q: %d, want %d", c.host, c.fields, r.status, c.want)
		}
		challenge := r.header.Get("WWW-Authenticate")
		if want := `Basic realm="the \"shop\""`; c.host == "h" && (r.status == 401) != (challenge == want) {
			t.Errorf("%q: the challenge is %q", c.fields, challenge)
		}
		if r.status == 0 && (r.x.User == "" || r.backend("Authorization") != "-") {
			t.Errorf("%q: user %q, the backend gets %q", c.fields, r.x.User, r.backend("Authorization"))
		}
	}
	// The certificate's challenge is asked without credentials (no-auth-locations), which a path of the client's isn't.
	b = newBed(t).on("h.test /", "auth-type", "basic", "auth-secret", "users").on("h.test /.well-known/acme-challenge/t", "auth-type", "basic", "auth-secret", "users")
	b.secrets["users"] = map[string]string{"auth": file}
	b.ask("GET", "http://h.test/.well-known/acme-challenge/t").want(t, 0, "")
	b.ask("GET", "http://h.test/.well-known/acme-challenge/x").want(t, 401, "")
}

// satisfy: any, portable assertion 30; a denied client may still prove who it is, as with nginx.
func TestSatisfy(t *testing.T) {
	pairs := []string{"auth-type", "basic", "auth-secret", "users", "allowlist-source-range", "10.0.0.0/8"}
	b := newBed(t).on("any.test /", append([]string{"satisfy", "any"}, pairs...)...).on("all.test /", pairs...).
		on("deny.test /", "satisfy", "any", "auth-type", "basic", "auth-secret", "users", "denylist-source-range", "192.0.2.0/24").
		on("addr.test /", "satisfy", "any", "allowlist-source-range", "10.0.0.0/8").on("free.test /", "satisfy", "any", "denylist-source-range", "192.0.2.0/24")
	b.secrets["users"] = map[string]string{"auth": "ann:{PLAIN}pw"}
	pw := []string{basicField("ann:pw")}
	for _, c := range []struct {
		host, client string
		fields       []string
		want         int
	}{
		{"any", "10.1.1.1", nil, 0}, {"any", "192.0.2.1", pw, 0}, {"any", "192.0.2.1", nil, 401}, {"any", "10.1.1.1", []string{basicField("ann:no")}, 0},
		{"all", "10.1.1.1", nil, 401}, {"all", "192.0.2.1", pw, 403}, {"all", "10.1.1.1", pw, 0}, {"all", "192.0.2.1", nil, 403},
		{"deny", "192.0.2.1", pw, 0}, {"deny", "192.0.2.1", nil, 401}, {"deny", "10.1.1.1", nil, 401},
		{"addr", "10.1.1.1", nil, 0}, {"addr", "192.0.2.1", nil, 403}, {"free", "192.0.2.1", nil, 403}, {"free", "10.1.1.1", nil, 0},
	} {
		if r := b.from(c.client, "GET", "http://"+c.host+".test/", c.fields...); r.status != c.want {
			t.Errorf("%s from %s with %q: %d, want %d", c.host, c.client, c.fields, r.status, c.want)
		} else if r.status == 0 && c.host != "addr" && c.host != "free" && r.backend("Authorization") != "-" {
			t.Errorf("%s: the backend gets %q", c.host, r.backend("Authorization"))
		}
	}
}

var someone = netip.MustParseAddr("192.0.2.1")

// A hash is computed once for many requests with the same password, and for each user whom nobody knows.
func TestPasswordsAreRemembered(t *testing.T) {
	p := newPasswords([32]byte{1}, 1)
	users := map[string]string{"ann": pw10}
	took := func(user, password string, want bool) time.Duration {
		t.Helper()
		start := time.Now()
		got, err := p.verify(context.Background(), someone, users, user, users[user], password)
		if err != nil || got != want {
			t.Fatalf("%s: %v %v, want %v", user, got, err, want)
		}
		return time.Since(start)
	}
	first := took("ann", "pw", true)
	var again time.Duration
	for range 100 {
		again += took("ann", "pw", true)
	}
	if again > first {
		t.Errorf("a hundred times took %v, the first one %v", again, first)
	}
	// An unknown user costs what a known one does, so that answers don't tell which is which.
	wrong, unknown := took("ann", "no", false), took("eve", "no", false)
	if unknown < wrong/10 {
		t.Errorf("an unknown user takes %v, a known one %v", unknown, wrong)
	}
	users["ann"] = other4
	took("ann", "pw", false) // the Secret has changed
	took("ann", "other", true)
	if ok, err := p.verify(context.Background(), someone, nil, "ann", "", "pw"); ok || err != nil {
		t.Errorf("without users: %v %v", ok, err)
	}
}

// Many requests with one password wait for one verification. Wrong passwords wait for each other, a bounded number, and
// leave the others' alone.
func TestPasswordsAreBounded(t *testing.T) {
	p := newPasswords([32]byte{1}, 1)
	users := map[string]string{"ann": pw4}
	p.slots <- struct{}{} // a verification that takes long
	var wg sync.WaitGroup
	results := make(chan error, 100)
	ask := func(a netip.Addr, password string) {
		wg.Go(func() {
			ok, err := p.verify(context.Background(), a, users, "ann", users["ann"], password)
			if err == nil && ok != (password == "pw") {
				err = errors.New("wrong answer for " + password)
			}
			results <- err
		})
	}
	for range 50 {
		ask(someone, "pw")
	}
	for i := range 50 {
		ask(netip.MustParseAddr("2001:db8::1"), "no"+strings.Repeat("x", i))
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		p.mu.Lock()
		leads, waiting := len(p.running), p.waiting
		p.mu.Unlock()
		if leads == 1+waitingOfClient && waiting == 50+waitingOfClient && len(results) == 50-waitingOfClient {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d verifications and %d waiting", leads, waiting)
		}
		time.Sleep(time.Millisecond)
	}
	<-p.slots
	wg.Wait()
	close(results)
	busy := 0
	for err := range results {
		if errors.Is(err, errBusy) {
			busy++
		} else if err != nil {
			t.Error(err)
		}
	}
	if busy != 50-waitingOfClient {
		t.Errorf("%d are too many, want %d", busy, 50-waitingOfClient)
	}
	if len(p.running) != 0 || p.waiting != 0 || len(p.clients) != 0 || len(p.slots) != 0 {
		t.Errorf("left behind: %d %d %d %d", len(p.running), p.waiting, len(p.clients), len(p.slots))
	}
	// One who leaves while waiting is no answer for those who wait along.
	p.slots <- struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.verify(ctx, someone, users, "ann", users["ann"], "gone"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's", err)
	}
	<-p.slots
	if ok, err := p.verify(context.Background(), someone, users, "ann", users["ann"], "gone"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}

func TestSums(t *testing.T) {
	s := newSums(3)
	for i := range byte(5) {
		s.add(sum{i})
		s.add(sum{i})
	}
	for i := range byte(5) {
		if s.has(sum{i}) != (i >= 2) {
			t.Errorf("%d: %v", i, s.has(sum{i}))
		}
	}
	if len(s.set) != 3 {
		t.Errorf("%d members", len(s.set))
	}
	p := newPasswords([32]byte{1}, 1)
	if p.sum("a", "b", "c") == p.sum("ab", "", "c") || p.sum("a", "", "bc") == p.sum("a", "b", "c") {
		t.Error("different credentials look alike")
	}
}

func digestField(user, realm, password, nonce, uri, nc, method string, change ...string) string {
	c := digestCredentials{user: user, nonce: nonce, uri: uri, nc: nc, cnonce: "c", qop: "auth"}
	s := `Digest username="` + user + `", realm="` + realm + `", nonce="` + nonce + `", uri="` + uri + `", qop=auth, nc=` + nc +
		`, cnonce="c", response="` + c.expected(ha1(user, realm, password), method) + `"`
	return "Authorization: " + strings.NewReplacer(change...).Replace(s)
}

func nonceOf(t *testing.T, r result) string {
	t.Helper()
	_, rest, ok := strings.Cut(r.header.Get("WWW-Authenticate"), `nonce="`)
	nonce, _, _ := strings.Cut(rest, `"`)
	if r.status != 401 || !ok || nonce == "" {
		t.Fatalf("%d with %q is no challenge", r.status, r.header.Get("WWW-Authenticate"))
	}
	return nonce
}

// auth-type: digest (RFC 7616 with MD5).
func TestDigest(t *testing.T) {
	b := newBed(t).on("h.test /", "auth-type", "digest", "auth-secret", "users", "auth-realm", "shop")
	b.secrets["users"] = map[string]string{"auth": "ann:shop:" + ha1("ann", "shop", "pw") + "\nbob:other:" + ha1("bob", "other", "pw")}
	r := b.ask("GET", "http://h.test/a?b=c")
	nonce := nonceOf(t, r)
	if got := r.header.Get("WWW-Authenticate"); got != `Digest realm="shop", qop="auth", algorithm=MD5, nonce="`+nonce+`"` {
		t.Errorf("the challenge is %q", got)
	}
	good := func(n, nc string) string { return digestField("ann", "shop", "pw", n, "/a?b=c", nc, "GET") }
	ask := func(field string) result { t.Helper(); return b.ask("GET", "http://h.test/a?b=c", field) }
	if r := ask(good(nonce, "00000001")); r.status != 0 || r.x.User != "ann" || r.backend("Authorization") != "-" {
		t.Errorf("%d, user %q, the backend gets %q", r.status, r.x.User, r.backend("Authorization"))
	}
	stale := func(field string, want bool) {
		t.Helper()
		r := ask(field)
		if nonceOf(t, r); strings.Contains(r.header.Get("WWW-Authenticate"), "stale=true") != want {
			t.Errorf("%q: %q", field, r.header.Get("WWW-Authenticate"))
		}
	}
	stale(good(nonce, "00000001"), true) // again
	ask(good(nonce, "00000003")).want(t, 0, "")
	ask(good(nonce, "00000002")).want(t, 0, "") // overtaken
	stale(good(nonce, "00000002"), true)
	ask(good(nonce, "00000100")).want(t, 0, "")
	stale(good(nonce, "00000004"), true) // too far back
	stale(good(nonce, "00000000"), true)
	stale(good("invented", "00000001"), true)
	fresh := nonceOf(t, b.ask("GET", "http://h.test/"))
	ask(digestField("ann", "shop", "pw", fresh, "http://h.test/a?b=c", "00000001", "GET")).want(t, 0, "")
	for _, f := range []string{
		digestField("ann", "shop", "no", fresh, "/a?b=c", "00000009", "GET"),
		digestField("eve", "shop", "pw", fresh, "/a?b=c", "00000009", "GET"),
		digestField("bob", "shop", "pw", fresh, "/a?b=c", "00000009", "GET"),
		digestField("bob", "other", "pw", fresh, "/a?b=c", "00000009", "GET"),
		digestField("ann", "shop", "pw", fresh, "/a?b=d", "00000009", "GET"),
		digestField("ann", "shop", "pw", fresh, "/a?b=c", "00000009", "POST"),
		digestField("ann", "shop", "pw", fresh, "/a?b=c", "9", "GET"),
		digestField("ann", "shop", "pw", fresh, "/a?b=c", "00000009", "GET", "qop=auth", "qop=auth-int"),
		digestField("ann", "shop", "pw", fresh, "/a?b=c", "00000009", "GET", "qop=auth", "algorithm=SHA-256, qop=auth"),
		digestField("ann", "shop", "pw", fresh, "/a?b=c", "00000009", "GET", `username="ann"`, `username="ann", username="ann"`),
		digestField("ann", "shop", "pw", fresh, "/a?b=c", "00000009", "GET", `cnonce="c"`, `cnonce=""`),
		digestField("", "shop", "pw", fresh, "/a?b=c", "00000009", "GET"),
		"Authorization: Digest", "Authorization: Digest =", `Authorization: Digest username="`, basicField("ann:pw"),
	} {
		stale(f, false)
	}
	if r := b.ask("GET", "http://h.test/a?b=c", good(fresh, "00000002"), "+"+good(fresh, "00000003")); r.status != 401 {
		t.Errorf("two credentials: %d", r.status)
	}
	b.now = b.now.Add(nonceLife + time.Second)
	stale(good(fresh, "00000005"), true)
}

// What is remembered of nonces is bounded, and what was forgotten isn't taken again.
func TestNoncesAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	d := newDigests([32]byte{1}, func() time.Time { return now })
	first := d.nonce()
	if !d.take(first, 1) {
		t.Fatal("a new nonce isn't taken")
	}
	for range nonceCount {
		if n := d.nonce(); !d.take(n, 1) {
			t.Fatal("a new nonce isn't taken")
		}
	}
	if len(d.used) != nonceCount || d.take(first, 1) || d.take(first, 2) {
		t.Errorf("%d are remembered, or a forgotten one was taken", len(d.used))
	}
	if newDigests([32]byte{2}, d.now).take(d.nonce(), 1) {
		t.Error("another key's nonce was taken")
	}
}

func FuzzDigest(f *testing.F) {
	for _, s := range []string{`a="b", c=d`, `username="\"", uri=x`, `=`, `a=`, `a="`, `a="\`, `,,a=b,,`, `a = "b" ; c`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var c digestCredentials
		if c.parse(s) && c.user != "" && !strings.Contains(strings.ToLower(s), "username") {
			t.Errorf("%q has the user %q", s, c.user)
		}
	})
}

func BenchmarkBasic(b *testing.B) {
	bd := newBed(b).on("h.test /", "auth-type", "basic", "auth-secret", "users")
	bd.secrets["users"] = map[string]string{"auth": "ann:" + pw10}
	x := bd.exchange("GET", "http://h.test/", basicField("ann:pw"))
	h := bd.filters.Hooks()
	ctx := context.Background()
	h.Access(ctx, x) // the first one is dear
	b.ReportAllocs()
	for b.Loop() {
		if h.Access(ctx, x) != nil {
			b.Fatal("an answer")
		}
	}
}
