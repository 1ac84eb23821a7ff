package dns

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// answerCache keeps the answers of upstreams in the wire format, until they have
// expired or their space is needed. Answers about the cluster's own names are never
// cached.
type answerCache struct {
	seed    maphash.Seed
	shards  [cacheShards]cacheShard
	entries atomic.Int64
	bytes   atomic.Int64
	evicted atomic.Uint64
}

const (
	cacheShards   = 16
	entryOverhead = 256 // of the entry, its place in the map and in the list
	staleTTL      = 30  // TTL, in seconds, of an expired answer that is given to a client
	// prefetchPart: an answer that was asked for more than once is renewed in the
	// last tenth of its TTL.
	prefetchPart = 10
	// maxCachedSize keeps single answers from pushing out everything else.
	maxCachedSize = 8 << 10
)

type cacheShard struct {
	mu      sync.Mutex
	byKey   map[string]*cacheEntry
	newest  *cacheEntry // the list of entries is in the order of their last use
	oldest  *cacheEntry
	bytes   int64
	padding [64]byte // shards are locked by different threads at once
}

type cacheEntry struct {
	key          string
	wire         []byte   // the reply, with id 0 and without OPT record
	ttls         []uint16 // offsets of the records' TTLs in wire
	stored       time.Time
	ttl          time.Duration
	hits         int  // guarded by the shard's mu
	renewing     bool // guarded by the shard's mu
	newer, older *cacheEntry
}

func (e *cacheEntry) size() int64 {
	return int64(len(e.wire) + 2*len(e.ttls) + len(e.key) + entryOverhead)
}

// freshness says how an entry may be used.
type freshness uint8

const (
	missing freshness = iota
	fresh
	due   // fresh, but about to expire: the caller has to renew it
	stale // expired: to be given only if no upstream answers
)

func newCache() *answerCache {
	c := &answerCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].byKey = map[string]*cacheEntry{}
	}
	return c
}

// cacheKey tells apart the questions that have different answers. It is
// appended to dst; name may be in any case.
func cacheKey(dst []byte, name string, qtype uint16, recursion, unchecked, dnssec bool) []byte {
	flags := byte(0)
	for i, set := range [...]bool{recursion, unchecked, dnssec} {
		if set {
			flags |= 1 << i
		}
	}
	dst = append(dst, flags, byte(qtype>>8), byte(qtype))
	for i := 0; i < len(name); i++ {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func (c *answerCache) shard(key []byte) *cacheShard {
	return &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
}

func (c *answerCache) get(key []byte, now time.Time, p *cachePolicy) (*cacheEntry, freshness) {
	if p.disabled {
		return nil, missing
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	if e == nil {
		return nil, missing
	}
	left := e.ttl - now.Sub(e.stored)
	switch {
	case left <= -p.stale:
		c.drop(s, e)
		return nil, missing
	case left <= 0:
		s.use(e)
		return e, stale
	}
	s.use(e)
	e.hits++
	if p.prefetch && !e.renewing && e.hits > 1 && left < e.ttl/prefetchPart {
		e.renewing = true
		return e, due
	}
	return e, fresh
}

// peek returns an entry that is fresh and does not have to be renewed.
func (c *answerCache) peek(key []byte, now time.Time, p *cachePolicy) *cacheEntry {
	if p.disabled {
		return nil
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	if e == nil {
		return nil
	}
	left := e.ttl - now.Sub(e.stored)
	if left <= 0 || p.prefetch && !e.renewing && left < e.ttl/prefetchPart {
		return nil
	}
	s.use(e)
	e.hits++
	return e
}

// put caches an answer, if it may be cached.
func (c *answerCache) put(key string, m *dns.Msg, now time.Time, p *cachePolicy) {
	if p.disabled {
		return
	}
	e := newCacheEntry(key, m, now, p)
	if e == nil {
		return
	}
	limit := int64(p.maxBytes / cacheShards)
	s := c.shard([]byte(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byKey[key]; old != nil {
		c.drop(s, old)
	}
	s.byKey[key] = e
	s.bytes += e.size()
	c.bytes.Add(e.size())
	c.entries.Add(1)
	s.link(e)
	for s.bytes > limit && s.oldest != nil {
		c.drop(s, s.oldest)
		c.evicted.Add(1)
	}
}

// notRenewed notes that the renewal of an entry failed; the next question tries it again.
func (c *answerCache) notRenewed(key string) {
	s := c.shard([]byte(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[key]; e != nil {
		e.renewing = false
	}
}

func (c *answerCache) drop(s *cacheShard, e *cacheEntry) {
	delete(s.byKey, e.key)
	s.unlink(e)
	s.bytes -= e.size()
	c.bytes.Add(-e.size())
	c.entries.Add(-1)
}

func (s *cacheShard) use(e *cacheEntry) {
	if s.newest != e {
		s.unlink(e)
		s.link(e)
	}
}

func (s *cacheShard) link(e *cacheEntry) {
	e.older, e.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = e
	}
	s.newest = e
	if s.oldest == nil {
		s.oldest = e
	}
}

func (s *cacheShard) unlink(e *cacheEntry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}

// newCacheEntry returns nil for an answer that must not be cached.
func newCacheEntry(key string, m *dns.Msg, now time.Time, p *cachePolicy) *cacheEntry {
	ttl, ok := lifetime(m, p)
	if !ok || ttl == 0 {
		return nil
	}
	keep := m.Copy()
	keep.Id, keep.Compress = 0, true
	keep.Extra = withoutOPT(keep.Extra)
	for _, rrs := range [][]dns.RR{keep.Answer, keep.Ns, keep.Extra} {
		for _, rr := range rrs {
			rr.Header().Ttl = min(rr.Header().Ttl, p.maxTTL)
		}
	}
	wire, err := keep.Pack()
	if err != nil || len(wire) > maxCachedSize {
		return nil
	}
	ttls, ok := ttlOffsets(wire)
	if !ok {
		return nil
	}
	return &cacheEntry{key: key, wire: slices.Clip(wire), ttls: ttls, stored: now, ttl: time.Duration(ttl) * time.Second}
}

// lifetime is how long an answer may be cached, in seconds: the least TTL of its
// records, for a negative answer also the minimum of its SOA record (RFC 2308).
func lifetime(m *dns.Msg, p *cachePolicy) (uint32, bool) {
	if m.Truncated || len(m.Question) != 1 || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0, false
	}
	ttl := p.maxTTL
	if m.Rcode == dns.RcodeNameError || len(m.Answer) == 0 {
		ttl = p.maxNegativeTTL
		authority := false
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				authority = true
				ttl = min(ttl, soa.Minttl, soa.Hdr.Ttl)
			}
		}
		if !authority {
			return 0, false
		}
	}
	for _, rrs := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range rrs {
			ttl = min(ttl, rr.Header().Ttl)
		}
	}
	return ttl, true
}

// ttlOffsets returns the offsets of the records' TTLs in a packed message with one question.
func ttlOffsets(wire []byte) ([]uint16, bool) {
	if len(wire) < dnsHeaderSize {
		return nil, false
	}
	records := 0
	for i := 6; i < dnsHeaderSize; i += 2 {
		records += int(binary.BigEndian.Uint16(wire[i:]))
	}
	off, ok := skipName(wire, dnsHeaderSize)
	off += 4
	out := make([]uint16, 0, records)
	for range records {
		if off, ok = skipName(wire, off); !ok || off+10 > len(wire) {
			return nil, false
		}
		out = append(out, uint16(off+4))
		off += 10 + int(binary.BigEndian.Uint16(wire[off+8:]))
	}
	return out, ok && off == len(wire)
}

// skipName returns where a packed name ends.
func skipName(wire []byte, off int) (int, bool) {
	for off < len(wire) {
		switch n := int(wire[off]); {
		case n == 0:
			return off + 1, true
		case n >= 0xC0:
			return off + 2, true
		default:
			off += 1 + n
		}
	}
	return off, false
}

// appendTo appends the entry's records, each with what is left of its TTL, to a
// reply that has its header and question.
func (e *cacheEntry) appendTo(dst []byte, questionSize int, now time.Time, f freshness) []byte {
	shift := len(dst) - questionSize - dnsHeaderSize
	dst = append(dst, e.wire[dnsHeaderSize+questionSize:]...)
	age := uint32(max(0, now.Sub(e.stored)) / time.Second)
	for _, at := range e.ttls {
		field := dst[int(at)+shift:]
		ttl := binary.BigEndian.Uint32(field)
		switch {
		case f == stale:
			ttl = min(ttl, staleTTL)
		case ttl > age:
			ttl -= age
		default:
			ttl = 0
		}
		binary.BigEndian.PutUint32(field, ttl)
	}
	return dst
}

// message unpacks the reply.
func (e *cacheEntry) message(now time.Time, f freshness) *dns.Msg {
	end, _ := skipName(e.wire, dnsHeaderSize)
	end += 4
	wire := e.appendTo(slices.Clone(e.wire[:end]), end-dnsHeaderSize, now, f)
	m := new(dns.Msg)
	if m.Unpack(wire) != nil {
		return nil // never: the same library has packed it
	}
	return m
}
