package filter

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// Bounds of what is remembered of external authentication.
const (
	authEntries   = 16384
	authBytes     = 32 << 20
	authEntrySize = 16 << 10
)

// authCache remembers answers of external authentication (auth-cache-key), each for its rule, host and key. As
// ingress-nginx has it, it is the rule's path that counts: who wants an answer for each URL puts it into the key.
type authCache struct {
	key [32]byte
	now func() time.Time

	mu      sync.Mutex
	entries map[sum]*authEntry
	ring    []sum // in the order of their coming
	bytes   int
}

type authEntry struct {
	answer  *authAnswer
	expires time.Time
	size    int
}

func newAuthCache(key [32]byte, now func() time.Time) *authCache {
	return &authCache{key: key, now: now, entries: map[sum]*authEntry{}}
}

// sum returns what a request's answer is remembered under; ok is false if it is not to be remembered.
func (c *authCache) sum(x *exchange.Exchange, e *table.ExternalAuth) (id sum, ok bool) {
	if e.CacheKey == nil {
		return id, false
	}
	b := make([]byte, 0, 1024)
	b = append(b, c.key[:]...)
	r := x.Route
	for _, s := range [...]string{r.Namespace, r.Ingress, x.Host, r.Path, string(r.PathType), literals(&e.URL), e.Method, strings.Join(e.ResponseHeaders, ",")} {
		b = appendPart(b, s)
	}
	some, vars := false, false
	for i := range e.CacheKey.Parts {
		p := &e.CacheKey.Parts[i]
		v := keyPart(x, p)
		b = appendPart(b, v)
		if p.Var != table.VarNone {
			vars, some = true, some || v != ""
		}
	}
	// Of a client of whom the key says nothing, it isn't known whether it is the one that was asked about.
	return sha256.Sum256(b), some || !vars
}

// keyPart is the value of a part of a key. The user is who the client says it is, as with nginx: whether that is true is
// what is asked.
func keyPart(x *exchange.Exchange, p *table.Part) string {
	switch p.Var {
	case table.VarNone:
		return p.Literal
	case table.VarRemoteUser:
		if x.User != "" {
			return x.User
		}
		user, _, _ := basicCredentials(x.Header)
		return user
	default:
		return x.Lookup(p.Var, p.Name)
	}
}

func (c *authCache) get(id sum) *authAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[id]
	if e == nil || !c.now().Before(e.expires) {
		return nil
	}
	return e.answer
}

// put remembers an answer for a time.
func (c *authCache) put(id sum, a *authAnswer, life time.Duration) {
	e := &authEntry{answer: a, expires: c.now().Add(life), size: a.size()}
	if life <= 0 || e.size > authEntrySize {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[id]; old != nil {
		c.bytes -= old.size
	} else {
		c.ring = append(c.ring, id)
	}
	c.entries[id], c.bytes = e, c.bytes+e.size
	for len(c.ring) > authEntries || c.bytes > authBytes {
		gone := c.ring[0]
		c.ring = c.ring[1:]
		c.bytes -= c.entries[gone].size
		delete(c.entries, gone)
	}
}

// lifeOf is how long an answer is kept: what the location says for its status, and no longer than its own header
// says. As with nginx, one that sets a cookie isn't kept; a time without statuses is for 200, 301 and 302. Nor is one kept
// that depends on the request in ways of its own (Vary).
func lifeOf(e *table.ExternalAuth, status int, h http.Header, now time.Time) time.Duration {
	var life time.Duration
	for i := range e.CacheDurations {
		d := &e.CacheDurations[i]
		if len(d.Codes) == 0 && (status == 200 || status == 301 || status == 302) || slices.Contains(d.Codes, status) {
			life = d.Duration
			break
		}
	}
	if life <= 0 || len(h["Set-Cookie"]) > 0 || len(h["Vary"]) > 0 || h.Get("X-Accel-Expires") != "" {
		return 0
	}
	if v := h.Get("Expires"); v != "" && len(h["Cache-Control"]) == 0 {
		at, err := http.ParseTime(v)
		if err != nil {
			return 0
		}
		life = min(life, at.Sub(now))
	}
	for _, line := range h["Cache-Control"] {
		for item := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(item)), "=")
			switch name {
			case "no-cache", "no-store", "private":
				return 0
			case "max-age", "s-maxage":
				n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32)
				if err != nil {
					return 0
				}
				life = min(life, time.Duration(n)*time.Second)
			}
		}
	}
	return life
}
