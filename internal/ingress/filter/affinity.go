package filter

import (
	"crypto/md5" //nolint:gosec // the hash that the cookie's value has with ingress-nginx
	"encoding/hex"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// choose decides whether a canary gets the request. A client whose session cookie names the primary or the canary stays
// there (affinity-canary-behavior: sticky, and for the primary also legacy), whatever else the canary goes by.
func (a *after) choose(x *exchange.Exchange) {
	u := x.Upstream
	if u == nil || len(u.Canaries) == 0 {
		return
	}
	if o := u.Options.Affinity; o != nil && holds(x, o.Name, &u.BackendRef) {
		return
	}
	for i := range u.Canaries {
		c := &u.Canaries[i]
		if o := c.Upstream.Options.Affinity; o != nil && holds(x, o.Name, &c.Upstream.BackendRef) {
			x.Upstream, x.Canary = c.Upstream, c
			return
		}
	}
	x.Upstream, x.Canary, _ = u.Choose(x, uint32(a.cfg.Random()))
}

// holds tells whether the request brings a session cookie that the backend has set.
func holds(x *exchange.Exchange, name string, ref *table.BackendRef) bool {
	_, of, ok := strings.Cut(x.Cookie(name), "|")
	if !ok {
		return false
	}
	if of, _, _ = strings.Cut(of, "|"); len(of) != 2*md5.Size {
		return false
	}
	key := backendKey(ref)
	return of == view(key[:])
}

// backendKey is what tells a backend in a cookie's value. As with ingress-nginx it is the MD5, in hexadecimal, of the
// MD5 of its name, in hexadecimal, and the name.
func backendKey(ref *table.BackendRef) (key [2 * md5.Size]byte) {
	var room [256]byte
	b := append(room[:0], "                                "...)
	b = append(append(append(append(append(b, ref.Namespace...), '-'), ref.Service...), '-'), ref.Port...)
	first := md5.Sum(b[2*md5.Size:]) //nolint:gosec // see the import
	hex.Encode(b, first[:])
	second := md5.Sum(b) //nolint:gosec // see the import
	hex.Encode(key[:], second[:])
	return key
}

// session is the cookie that the answer sets.
type session struct {
	option *table.CookieOption // nil sets none
	ref    table.BackendRef
	key    [32]byte
}

// names are the keys of endpoints in cookies that stay with their endpoint (affinity-mode: persistent).
type names struct {
	keys  [][32]byte
	byKey map[[32]byte]int
}

// newNames makes the keys: MD5 of the backend's name and the endpoint, as ingress-nginx has them.
func newNames(ref *table.BackendRef, c exchange.Candidates) *names {
	n := c.Len()
	s := &names{keys: make([][32]byte, n), byKey: make(map[[32]byte]int, n)}
	salt := ref.Namespace + "-" + ref.Service + "-" + ref.Port
	var b []byte
	for i := range n {
		b = c.Address(i).AppendTo(append(b[:0], salt...))
		sum := md5.Sum(b) //nolint:gosec // see the import
		hex.Encode(s.keys[i][:], sum[:])
		s.byKey[s.keys[i]] = i
	}
	return s
}

// bySession picks the endpoint that the session cookie names. Without a cookie, or one that names an endpoint which is
// gone, it picks one by chance and has the answer set the cookie, on paths of Ingresses that ask for affinity. An
// endpoint that fails is left only with session-cookie-change-on-failure.
func (a *after) bySession(x *exchange.Exchange, o *table.CookieOption, c exchange.Candidates) int {
	d := a.balance.of(c)
	key, _, _ := strings.Cut(x.Cookie(o.Name), "|")
	if i := a.balance.ofKey(d, x, o, c, key); i >= 0 && (!o.ChangeOnFailure || !c.Tried(i) && !c.Failing(i)) {
		return i
	}
	s := a.state(x)
	i := a.balance.newSession(d, x, o, c, &s.session.key)
	if x.Route != nil && x.Route.Affinity {
		s.session.option, s.session.ref = o, x.Upstream.BackendRef
	}
	return i
}

// ofKey returns the endpoint of a key, -1 if there is none.
func (b *balance) ofKey(d *derived, x *exchange.Exchange, o *table.CookieOption, c exchange.Candidates, key string) int {
	switch {
	case key == "":
		return -1
	case !o.Persistent:
		return b.ring(d, c).find(xxhash.Sum64String(key))
	case len(key) != 32:
		return -1
	}
	if i, ok := b.names(d, x, c).byKey[[32]byte(unsafe.Slice(unsafe.StringData(key), 32))]; ok {
		return i
	}
	return -1
}

func (b *balance) names(d *derived, x *exchange.Exchange, c exchange.Candidates) *names {
	if n := d.names.Load(); n != nil {
		return n
	}
	return part(b, &d.names, func() *names { return newNames(&x.Upstream.BackendRef, c) })
}

// newKeys is how many keys are drawn to find one whose endpoint is good: of two endpoints, one of which is bad, the bad
// one is then met once in a million times (ingress-nginx's MAX_UPSTREAM_CHECKS_COUNT).
const newKeys = 20

// newSession picks an endpoint by chance, and sets the key that leads to it.
func (b *balance) newSession(d *derived, x *exchange.Exchange, o *table.CookieOption, c exchange.Candidates, key *[32]byte) int {
	if o.Persistent {
		n := b.names(d, x, c)
		i := goodFrom(c, int(b.random()%uint64(len(n.keys))), len(n.keys), -1)
		*key = n.keys[i]
		return i
	}
	r := b.ring(d, c)
	spare := -1
	var spareKey [32]byte
	for range newKeys {
		appendHex64(appendHex64(key[:0], b.random()), b.random())
		i := r.find(xxhash.Sum64(key[:]))
		switch {
		case c.Tried(i):
		case !c.Failing(i):
			return i
		case spare < 0:
			spare, spareKey = i, *key
		}
	}
	if spare >= 0 {
		*key = spareKey
		return spare
	}
	return r.find(xxhash.Sum64(key[:]))
}

const lowerHex = "0123456789abcdef"

// appendHex64 appends the sixteen hexadecimal digits of a number.
func appendHex64(dst []byte, v uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, lowerHex[v>>shift&15])
	}
	return dst
}
