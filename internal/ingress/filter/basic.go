package filter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/htpasswd"
	"minato/internal/ingress/table"
)

// credential asks for a name and a password (auth-type). The user is the Exchange's from then on.
func (b *before) credential(ctx context.Context, x *exchange.Exchange, want *table.BasicAuth) *exchange.Answer {
	if want.Digest {
		return b.digest(x, want)
	}
	user, password, ok := basicCredentials(x.Header)
	if !ok {
		return challenge(x, want, b.digests, false)
	}
	stored, known := want.Users[user]
	ok, err := b.passwords.verify(ctx, x.Client.Addr(), want.Users, user, stored, password)
	switch {
	case err != nil:
		return x.Reply(503)
	case !ok || !known:
		return challenge(x, want, b.digests, false)
	}
	x.User = user
	return nil
}

// challenge answers 401 with what the client has to answer.
func challenge(x *exchange.Exchange, want *table.BasicAuth, d *digests, stale bool) *exchange.Answer {
	if want.Digest {
		return x.Reply(401).With("WWW-Authenticate", d.challenge(want.Realm, stale))
	}
	return x.Reply(401).With("WWW-Authenticate", "Basic realm="+quoted(want.Realm))
}

// quoted is a text as a quoted-string (RFC 9110, 5.6.4).
func quoted(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(append(b, '"'))
}

// maxCredentials bounds what a client says of itself, in bytes.
const maxCredentials = 4096

// authorization returns the credentials of a scheme that the request brings. Two fields are none: which one is meant
// isn't known.
func authorization(h *h1.Header, scheme string) (string, bool) {
	if h.Count(h1.Authorization) != 1 {
		return "", false
	}
	v := view(h.Get(h1.Authorization))
	if len(v) > maxCredentials || len(v) <= len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) || v[len(scheme)] != ' ' {
		return "", false
	}
	return strings.Trim(v[len(scheme):], " "), true
}

// basicCredentials returns the name and the password of RFC 7617. A name is neither empty nor has control characters.
func basicCredentials(h *h1.Header) (user, password string, ok bool) {
	text, ok := authorization(h, "Basic")
	if !ok {
		return "", "", false
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(view(raw), ":")
	if !ok || user == "" || strings.IndexFunc(user, func(c rune) bool { return c < 0x20 || c == 0x7f }) >= 0 {
		return "", "", false
	}
	return user, password, true
}

// Bounds of passwords.
const (
	goodPasswords    = 8192
	badPasswords     = 2048
	waitingPasswords = 256
	waitingOfClient  = 16
	waitPassword     = 10 * time.Second
)

var errBusy = errors.New("too many passwords are being verified")

// passwords verifies passwords and remembers the outcome, since hashes are made to be slow. What is remembered is a keyed
// hash of name, password and stored hash, so that a changed Secret counts at once. Wrong passwords are remembered apart:
// guessing doesn't drive out those who have logged in. Only so many are verified at a time, and so many of one client wait.
type passwords struct {
	key   [32]byte
	slots chan struct{}

	mu        sync.Mutex
	good, bad sums
	running   map[sum]*verification
	waiting   int
	clients   map[netip.Prefix]int
}

type sum = [sha256.Size]byte

type verification struct {
	done    chan struct{}
	ok      bool
	decided bool
}

func newPasswords(key [32]byte, slots int) *passwords {
	return &passwords{
		key: key, slots: make(chan struct{}, slots), good: newSums(goodPasswords), bad: newSums(badPasswords),
		running: map[sum]*verification{}, clients: map[netip.Prefix]int{},
	}
}

// verify tells whether a user's password fits the stored hash. For a user whom nobody knows (stored is "") it takes the
// time that it takes for another one. The error is that of the context, or errBusy.
func (p *passwords) verify(ctx context.Context, client netip.Addr, users map[string]string, user, stored, password string) (bool, error) {
	if len(users) == 0 {
		return false, nil
	}
	id := p.sum(user, stored, password)
	for {
		p.mu.Lock()
		if p.good.has(id) {
			p.mu.Unlock()
			return true, nil
		}
		if p.bad.has(id) {
			p.mu.Unlock()
			return false, nil
		}
		v := p.running[id]
		if v == nil {
			return p.lead(ctx, id, client, users, stored, password)
		}
		if p.waiting >= waitingPasswords {
			p.mu.Unlock()
			return false, errBusy
		}
		p.waiting++
		p.mu.Unlock()
		select {
		case <-v.done:
		case <-ctx.Done():
		}
		p.mu.Lock()
		p.waiting--
		p.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if v.decided {
			return v.ok, nil
		}
	}
}

// lead verifies a password that nobody else verifies. It is called with mu held, and returns without.
func (p *passwords) lead(ctx context.Context, id sum, client netip.Addr, users map[string]string, stored, password string) (bool, error) {
	from := network(client)
	if p.waiting >= waitingPasswords || p.clients[from] >= waitingOfClient {
		p.mu.Unlock()
		return false, errBusy
	}
	v := &verification{done: make(chan struct{})}
	p.running[id] = v
	p.waiting++
	p.clients[from]++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.running, id)
		p.waiting--
		if p.clients[from]--; p.clients[from] == 0 {
			delete(p.clients, from)
		}
		switch {
		case !v.decided:
		case v.ok:
			p.good.add(id)
		default:
			p.bad.add(id)
		}
		close(v.done)
	}()
	timer := time.NewTimer(waitPassword)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-timer.C:
		return false, errBusy
	case <-ctx.Done():
		return false, ctx.Err()
	}
	v.ok, v.decided = matches(users, stored, password), true
	return v.ok, nil
}

// matches looks at a password. For nobody's, any user's hash is computed, and the answer is no.
func matches(users map[string]string, stored, password string) bool {
	known := stored != ""
	if !known {
		for _, h := range users {
			stored = h
			break
		}
	}
	h, err := htpasswd.Parse(stored)
	return err == nil && h.Matches(password) && known
}

// network is whom one party's addresses belong to: an address of IPv4, a /64 of IPv6.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	p, _ := a.Prefix(min(a.BitLen(), 64)) // that of no address is the zero Prefix
	return p
}

// sum is the keyed hash that an outcome is remembered under.
func (p *passwords) sum(user, stored, password string) sum {
	var room [512]byte
	b := append(room[:0], p.key[:]...)
	b = appendPart(b, user)
	b = appendPart(b, stored)
	b = appendPart(b, password)
	return sha256.Sum256(b)
}

// appendPart appends a text with its length, so that no two lists of texts look alike.
func appendPart(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

// sums is a bounded set: a new member takes the place of the oldest.
type sums struct {
	set  map[sum]struct{}
	ring []sum
	next int
	most int
}

func newSums(most int) sums { return sums{set: map[sum]struct{}{}, most: most} }

func (s *sums) has(v sum) bool {
	_, ok := s.set[v]
	return ok
}

func (s *sums) add(v sum) {
	if s.has(v) {
		return
	}
	s.set[v] = struct{}{}
	if len(s.ring) < s.most {
		s.ring = append(s.ring, v)
		return
	}
	delete(s.set, s.ring[s.next])
	s.ring[s.next] = v
	s.next = (s.next + 1) % s.most
}
