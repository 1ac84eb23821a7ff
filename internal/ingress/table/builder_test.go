package table

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// world makes random Ingresses out of few hosts, paths and Services, so that they meet.
type world struct{ r *rand.Rand }

func (w world) pick(s ...string) string { return s[w.r.IntN(len(s))] }

func (w world) ingress(name string) *Ingress {
	var lines []string
	host := func() string { return w.pick("a.x", "b.x", "*.x", "-", "c.y", "www.c.y") }
	for range w.r.IntN(4) {
		switch w.r.IntN(8) {
		case 0:
			lines = append(lines, host()+" -")
		default:
			lines = append(lines, fmt.Sprintf("%s %s %s %s", host(), w.pick("P", "P", "E", "I"),
				w.pick("/", "/foo", "/foo/", "/foo/bar", "/f", "/food", "/[a-c]oo", "/(x"), w.pick("s1", "s2:80", "s2:http", "s3", "resource")))
		}
	}
	if w.r.IntN(3) == 0 || len(lines) == 0 {
		lines = append(lines, "default "+w.pick("s1", "s2:80", "d", "resource"))
	}
	if w.r.IntN(4) == 0 {
		lines = append(lines, "tls "+w.pick("cert", "gone", "-")+" "+w.pick("a.x", "b.x", "*.x", ""))
	}
	i := ing(name, w.r.IntN(4), lines...)
	i.Certificates = map[string]*Certificate{"cert": {Names: []string{"a.x", "*.x"}}}
	o := &i.Options
	if w.r.IntN(2) == 0 {
		i.Class = ClassNginx
	}
	switch w.r.IntN(12) {
	case 0, 1:
		o.Canary = &Canary{Weight: w.r.IntN(100), Total: 100, Header: w.pick("", "X-C")}
	case 2:
		o.Location.UseRegex = true
	case 3:
		rewrite(w.pick("/foo", "/$1", "/"))(i)
	case 4:
		o.Fault = "broken"
	}
	switch w.r.IntN(10) {
	case 0:
		o.Host.AppRoot = w.pick("/r", "/q")
	case 1:
		o.Host.Aliases = []string{w.pick("b.x", "z.z", "*.z", "c.y"), "q.q"}
	case 2:
		o.Host.FromToWWW = true
	case 3:
		o.Host.ClientTLS = &ClientTLS{Secret: types.NamespacedName{Name: w.pick("s", "t")}}
	}
	switch w.r.IntN(10) {
	case 0:
		o.Upstream.LoadBalance = EWMA
	case 1:
		o.Upstream.Set = SetLoadBalance
	case 2:
		o.Upstream.Affinity = &CookieOption{Name: w.pick("c", "d")}
	}
	return i
}

// text writes down all that a table says.
func text(t *Table, names []string) string {
	var s strings.Builder
	describe := func(r *Route) string {
		x := fmt.Sprintf("%s/%s class=%d host=%q path=%s %s gen=%v status=%d fault=%q regex=%v tls=%v cert=%v server=%+v",
			r.Namespace, r.Ingress, r.Class, r.Host, r.Path, r.PathType, r.Generated, r.NoBackend, r.Fault, r.Location.UseRegex, r.Server.TLS, r.Server.Certificate.Covers("a.x"), r.Server.Options.AppRoot)
		if r.Backend != nil {
			x += fmt.Sprintf(" up=%+v %v", r.Backend.BackendRef, r.Backend.Options.LoadBalance)
			if a := r.Backend.Options.Affinity; a != nil {
				x += " aff=" + a.Name
			}
			for _, c := range r.Backend.Canaries {
				x += fmt.Sprintf(" canary=%s %+v→%+v", c.Ingress, c.Canary, c.Upstream.BackendRef)
				if a := c.Upstream.Options.Affinity; a != nil {
					x += " aff=" + a.Name
				}
			}
		}
		if r.Location.Rewrite != nil {
			x += " rewrite=" + r.Location.Rewrite.Target.Parts[0].Literal
		}
		return x
	}
	for _, h := range []string{"a.x", "b.x", "c.x", "c.y", "www.c.y", "z.z", "k.z", "q.q", "none", "www.a.x", "www.www.c.y"} {
		srv, cert := t.CertificateFor(h)
		fmt.Fprintln(&s, h, srv.Name, srv.TLS, cert.Covers("a.x"), t.TLS(h), t.Misdirected("a.x", h), srv.Patterns, srv.Class)
		for _, p := range []string{"/", "/foo", "/foo/", "/foo/bar", "/foo/bar/baz", "/f", "/boo", "/(x", "/FOOd", "/zzz"} {
			var m Match
			t.Match(h, p, &m)
			if m.RedirectHost != "" {
				fmt.Fprintln(&s, h, p, "redirect", m.RedirectHost)
				continue
			}
			fmt.Fprintln(&s, h, p, describe(m.Route))
		}
	}
	for _, r := range t.Routes() {
		fmt.Fprintln(&s, describe(r))
	}
	for _, n := range names {
		for _, f := range t.Findings(types.NamespacedName{Namespace: "d", Name: n}) {
			fmt.Fprintf(&s, "%+v\n", f)
		}
	}
	return s.String()
}

// After any sequence of edits, the table is the one that is built of the same Ingresses at once, in any order, and what
// did not change are the same pointers.
func TestEditsMakeTheSameTable(t *testing.T) {
	names := []string{"i1", "i2", "i3", "i4", "i5", "i6", "i7"}
	for seed := range uint64(200) {
		w := world{rand.New(rand.NewPCG(seed, 1))}
		b := NewBuilder()
		have := map[string]*Ingress{}
		settings := &Settings{}
		for step := range 25 {
			n := w.pick(names...)
			switch w.r.IntN(8) {
			case 0, 1:
				delete(have, n)
				b.Delete(types.NamespacedName{Namespace: "d", Name: n})
			case 2:
				settings = &Settings{NoCatchAll: w.r.IntN(3) == 0}
				if w.r.IntN(2) == 0 {
					settings.DefaultBackend = &BackendRef{Namespace: "k", Service: w.pick("d1", "d2")}
				}
				b.SetSettings(settings)
			default:
				have[n] = w.ingress(n)
				b.Set(have[n])
			}
			if w.r.IntN(3) == 0 {
				continue // several edits at once
			}
			before := b.table
			got := b.Table()
			if got != b.Table() {
				t.Fatal("a table without edits in between is another one")
			}
			fresh := NewBuilder()
			if w.r.IntN(2) == 0 {
				fresh.SetSettings(settings)
			}
			order := slices.Collect(func(yield func(string) bool) {
				for _, i := range w.r.Perm(len(names)) {
					if have[names[i]] != nil && !yield(names[i]) {
						return
					}
				}
			})
			for _, n := range order {
				fresh.Set(have[n])
			}
			fresh.SetSettings(settings)
			a, z := text(got, names), text(fresh.Table(), names)
			if a != z {
				al, zl := strings.Split(a, "\n"), strings.Split(z, "\n")
				for i := range al {
					if i >= len(zl) || al[i] != zl[i] {
						t.Fatalf("seed %d step %d: after edits:\n%s\nat once:\n%s", seed, step, al[i], zl[min(i, len(zl)-1)])
					}
				}
				t.Fatalf("seed %d step %d: differs", seed, step)
			}
			samePointers(t, before, got)
		}
	}
}

// samePointers checks that a route that is as it was is the same pointer.
func samePointers(t *testing.T, before, after *Table) {
	t.Helper()
	old := map[string]*Route{}
	id := func(r *Route) string { return r.Host + " " + r.Path + " " + string(r.PathType) + r.Ingress }
	if before.any == nil {
		return
	}
	for _, r := range before.Routes() {
		old[id(r)] = r
	}
	for _, r := range after.Routes() {
		if o := old[id(r)]; o != nil && o != r && *o == *r {
			t.Errorf("route %s is another pointer without a change", id(r))
		}
	}
}

// An edit of one path leaves all else as it was, and running requests what they have.
func TestEditLeavesOthersAlone(t *testing.T) {
	b := NewBuilder()
	for i := range 50 {
		b.Set(ing(fmt.Sprintf("i%d", i), i, fmt.Sprintf("h P /p%d s%d", i, i%7), fmt.Sprintf("h%d P / s%d", i, i%7)))
	}
	before := b.Table()
	b.Set(ing("i7", 7, "h P /p7 other", "h7 P / s0"))
	after := b.Table()
	n := 0
	for host, path := range map[string]string{"h": "/p7", "h7": "/"} {
		var m, k Match
		before.Match(host, path, &m)
		after.Match(host, path, &k)
		if changed := m.Route != k.Route; changed != (host == "h") {
			t.Errorf("%s%s: another route is %v", host, path, changed)
		}
	}
	for i, r := range before.Routes() {
		if s := after.Routes()[i]; r != s {
			n++
		} else if r.Server != s.Server || r.Backend != s.Backend {
			t.Errorf("%s%s has another Server or Upstream", r.Host, r.Path)
		}
	}
	if n != 1 {
		t.Errorf("%d routes are others, want 1", n)
	}
	if answer(before, "h", "/p7") != "s0" || answer(after, "h", "/p7") != "other" {
		t.Error("the edit isn't live, or the older table was changed")
	}
}
