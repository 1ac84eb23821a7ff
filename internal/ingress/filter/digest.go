package filter

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // digest authentication (RFC 7616) is made of it
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// Bounds of digest authentication.
const (
	nonceLife  = 5 * time.Minute
	nonceCount = 16384 // nonces in use at a time
	rawNonce   = 32    // time, number, and what proves both
)

// digests are the nonces of digest authentication (RFC 7616 with MD5 and qop=auth, as nginx's module has it). A nonce
// says itself when it was made and that it was made here. Those that were used are remembered with their counts, so
// that none is taken twice; where there are more than are kept, the oldest can't be used any longer.
type digests struct {
	key    [32]byte
	now    func() time.Time
	number atomic.Uint64

	mu    sync.Mutex
	used  map[uint64]*counts
	ring  []uint64
	next  int
	floor uint64 // numbers up to it that aren't in used are too old
}

// counts are the counts of one nonce that came: the highest, and which of the 64 up to it. Clients send several requests
// at a time, which overtake each other.
type counts struct {
	highest uint32
	seen    uint64
}

func newDigests(key [32]byte, now func() time.Time) *digests {
	return &digests{key: key, now: now, used: map[uint64]*counts{}}
}

// challenge makes a WWW-Authenticate with a new nonce. stale has the client answer it without asking its user again.
func (d *digests) challenge(realm string, stale bool) string {
	s := "Digest realm=" + quoted(realm) + `, qop="auth", algorithm=MD5, nonce="` + d.nonce() + `"`
	if stale {
		s += ", stale=true"
	}
	return s
}

func (d *digests) nonce() string {
	raw := make([]byte, 16, rawNonce)
	binary.BigEndian.PutUint64(raw, uint64(d.now().UnixNano()))
	binary.BigEndian.PutUint64(raw[8:], d.number.Add(1))
	return base64.RawURLEncoding.EncodeToString(append(raw, d.proof(raw)...))
}

func (d *digests) proof(raw []byte) []byte {
	m := hmac.New(sha256.New, d.key[:])
	m.Write(raw)
	return m.Sum(nil)[:rawNonce-16]
}

// take tells whether a nonce can be used with a count, and remembers that it was.
func (d *digests) take(nonce string, count uint32) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != rawNonce || !hmac.Equal(d.proof(raw[:16]), raw[16:]) {
		return false
	}
	age := d.now().Sub(time.Unix(0, int64(binary.BigEndian.Uint64(raw))))
	if age < 0 || age > nonceLife {
		return false
	}
	number := binary.BigEndian.Uint64(raw[8:])
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.used[number]
	if c == nil {
		if number <= d.floor {
			return false
		}
		c = &counts{}
		d.remember(number, c)
	}
	return c.take(count)
}

func (d *digests) remember(number uint64, c *counts) {
	d.used[number] = c
	if len(d.ring) < nonceCount {
		d.ring = append(d.ring, number)
		return
	}
	gone := d.ring[d.next]
	delete(d.used, gone)
	d.floor = max(d.floor, gone)
	d.ring[d.next] = number
	d.next = (d.next + 1) % nonceCount
}

func (c *counts) take(n uint32) bool {
	switch {
	case n == 0:
		return false
	case n > c.highest:
		if by := n - c.highest; by < 64 {
			c.seen <<= by
		} else {
			c.seen = 0
		}
		c.highest = n
		c.seen |= 1
		return true
	case c.highest-n >= 64 || c.seen&(1<<(c.highest-n)) != 0:
		return false
	default:
		c.seen |= 1 << (c.highest - n)
		return true
	}
}

// digest asks for a name and the proof of a password.
func (b *before) digest(x *exchange.Exchange, want *table.BasicAuth) *exchange.Answer {
	var c digestCredentials
	if !c.read(x.Header) || c.realm != want.Realm || !c.ofTarget(x.Target) {
		return challenge(x, want, b.digests, false)
	}
	ha1, known := want.Users[c.user]
	if len(ha1) != 2*md5.Size {
		ha1, known = strings.Repeat("0", 2*md5.Size), false
	}
	if subtle.ConstantTimeCompare([]byte(c.expected(ha1, x.Method)), []byte(strings.ToLower(c.response))) != 1 || !known {
		return challenge(x, want, b.digests, false)
	}
	if !b.digests.take(c.nonce, c.n) {
		// The password is right: a new nonce is all that it takes.
		return challenge(x, want, b.digests, true)
	}
	x.User = strings.Clone(c.user)
	return nil
}

// digestCredentials are what Authorization has.
type digestCredentials struct {
	user, realm, nonce, uri, response, algorithm, cnonce, nc, qop string
	n                                                             uint32
}

// read reads the credentials; it reports false for those that can't be right.
func (c *digestCredentials) read(h *h1.Header) bool {
	text, ok := authorization(h, "Digest")
	if !ok || !c.parse(text) {
		return false
	}
	n, err := strconv.ParseUint(c.nc, 16, 32)
	c.n = uint32(n)
	return err == nil && len(c.nc) == 8 && c.user != "" && c.cnonce != "" && c.qop == "auth" && len(c.response) == 2*md5.Size &&
		(c.algorithm == "" || strings.EqualFold(c.algorithm, "MD5"))
}

// parse reads a list of parameters (RFC 9110, 11.2). One that comes twice makes it wrong.
func (c *digestCredentials) parse(s string) bool {
	for {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			return true
		}
		name, rest, ok := strings.Cut(s, "=")
		name = strings.Trim(name, " \t")
		if !ok || name == "" {
			return false
		}
		value, rest, ok := parameter(strings.TrimLeft(rest, " \t"))
		if !ok {
			return false
		}
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != ',' {
			return false
		}
		s = rest
		if p := c.field(strings.ToLower(name)); p != nil {
			if *p != "" {
				return false
			}
			*p = value
		}
	}
}

func (c *digestCredentials) field(name string) *string {
	switch name {
	case "username":
		return &c.user
	case "realm":
		return &c.realm
	case "nonce":
		return &c.nonce
	case "uri":
		return &c.uri
	case "response":
		return &c.response
	case "algorithm":
		return &c.algorithm
	case "cnonce":
		return &c.cnonce
	case "nc":
		return &c.nc
	case "qop":
		return &c.qop
	default:
		return nil
	}
}

// parameter reads a token or a quoted-string.
func parameter(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, ", \t\"")
		if i < 0 {
			i = len(s)
		}
		return s[:i], s[i:], i > 0
	}
	s = s[1:]
	i := strings.IndexAny(s, `"\`)
	if i >= 0 && s[i] == '"' {
		return s[:i], s[i+1:], true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// ofTarget tells whether the credentials are for a target in origin form; they may name it in absolute form.
func (c *digestCredentials) ofTarget(target string) bool {
	if c.uri == target {
		return true
	}
	_, rest, ok := strings.Cut(c.uri, "://")
	if !ok {
		return false
	}
	i := strings.IndexAny(rest, "/?")
	return i >= 0 && rest[i:] == target
}

// expected is the response of a client that knows the password.
func (c *digestCredentials) expected(ha1, method string) string {
	ha2 := hashed(method, c.uri)
	return hashed(ha1, c.nonce, c.nc, c.cnonce, c.qop, ha2)
}

func hashed(parts ...string) string {
	m := md5.Sum([]byte(strings.Join(parts, ":"))) //nolint:gosec // see the import
	return hex.EncodeToString(m[:])
}
