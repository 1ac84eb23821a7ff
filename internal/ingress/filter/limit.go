package filter

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// limits answers for clients that do more than they may (limit-*), counted for each Ingress and address.
func (b *before) limits(x *exchange.Exchange, l *table.Limits) *exchange.Answer {
	client := x.Client.Addr()
	if len(l.Exempt) > 0 && b.prefixes.contains(l.Exempt, client) {
		return nil
	}
	key := b.limiter.key(x.Route.Namespace, x.Route.Ingress, client)
	switch release, verdict := b.limiter.take(key, int64(x.Start.Sub(b.epoch)), rateOf(l.RPS, l.Burst, time.Second), rateOf(l.RPM, l.Burst, time.Minute), l.Connections); verdict {
	case tooFast:
		return x.Reply(cmp.Or(x.Settings.LimitRequestStatus, 503))
	case tooMany:
		return x.Reply(cmp.Or(x.Settings.LimitConnStatus, 503))
	default:
		if release != nil {
			x.OnDone(release)
		}
		return nil
	}
}

// rate is a limit of requests: one in each interval, and up to burst of them ahead of time, in nanoseconds.
type rate struct{ interval, burst int64 }

// rateOf returns the rate of n requests in a period, of which n × multiplier may come at once besides the first, as with
// nginx's burst and nodelay; the zero rate is without limit.
func rateOf(n, multiplier int, period time.Duration) rate {
	if n <= 0 {
		return rate{}
	}
	if multiplier <= 0 {
		multiplier = 5
	}
	interval := max(int64(period)/int64(n), 1)
	return rate{interval, int64(min(n, int(period))) * interval * int64(min(multiplier, 1_000_000))}
}

type verdict uint8

const (
	passes  verdict = iota
	tooFast         // limit-rps, limit-rpm
	tooMany         // limit-connections
)

// limiter counts what clients do, in a bounded number of entries. Where there are more clients, those that were seen
// last are counted; one that has requests under way is never forgotten. Addresses are counted whole, those of IPv6 too:
// the Pods of a node have one /64 in common.
type limiter struct {
	seed   maphash.Seed
	shards [limitShards]limitShard
}

const limitShards = 64

type limitKey struct{ zone, hi, lo uint64 }

type limitShard struct {
	mu      sync.Mutex
	index   map[limitKey]int32
	entries []limitEntry
	// newest and oldest end the list of the entries; -1 without any.
	newest, oldest int32
	most           int
	_              [64]byte
}

// limitEntry is what is known of one client of one Ingress. Its times are when the requests so far would have come at
// the rate that is allowed.
type limitEntry struct {
	key         limitKey
	second, min int64
	open        int
	release     func()
	newer       int32
	older       int32
}

func newLimiter(entries int) *limiter {
	l := &limiter{seed: maphash.MakeSeed()}
	for i := range l.shards {
		s := &l.shards[i]
		s.index, s.newest, s.oldest, s.most = map[limitKey]int32{}, -1, -1, max(entries/limitShards, 1)
	}
	return l
}

// key returns that of a client. Ingresses are told apart by a keyed hash of 64 bits, which clients can't aim at.
func (l *limiter) key(namespace, ingress string, client netip.Addr) limitKey {
	a := client.As16()
	zone := maphash.String(l.seed, namespace)
	hi, lo := bits.Mul64(zone, 0x9e3779b97f4a7c15)
	zone = hi ^ lo ^ maphash.String(l.seed, ingress)
	return limitKey{zone, binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])}
}

func (l *limiter) shard(k limitKey) *limitShard {
	hi, lo := bits.Mul64(k.hi^k.zone, k.lo^0x9e3779b97f4a7c15)
	return &l.shards[(hi^lo^k.lo*0xff51afd7ed558ccd>>32)%limitShards]
}

// take counts a request at a time in nanoseconds, if it passes. With a limit of connections, release is to be called
// when it has ended.
func (l *limiter) take(k limitKey, now int64, second, minute rate, connections int) (release func(), v verdict) {
	s := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(k)
	if i < 0 {
		// All have requests under way: whether this client may have one isn't known.
		return nil, tooMany
	}
	e := &s.entries[i]
	if second.interval > 0 && e.second-now > second.burst || minute.interval > 0 && e.min-now > minute.burst {
		return nil, tooFast
	}
	if connections > 0 && e.open >= connections {
		return nil, tooMany
	}
	e.second = advance(e.second, now, second)
	e.min = advance(e.min, now, minute)
	if connections <= 0 {
		return nil, passes
	}
	e.open++
	if e.release == nil {
		e.release = func() {
			s.mu.Lock()
			s.entries[i].open--
			s.mu.Unlock()
		}
	}
	return e.release, passes
}

func advance(at, now int64, r rate) int64 {
	if r.interval == 0 {
		return at
	}
	return max(at, now) + r.interval
}

// find returns the client's entry, a new one if there is none; -1 if there is no room. It becomes the newest.
func (s *limitShard) find(k limitKey) int32 {
	i, ok := s.index[k]
	if !ok {
		if i = s.room(); i < 0 {
			return -1
		}
		e := &s.entries[i]
		e.key, e.second, e.min = k, 0, 0
		s.index[k] = i
		s.push(i)
		return i
	}
	if i != s.newest {
		s.unlink(i)
		s.push(i)
	}
	return i
}

// room returns an entry that is in no list: one more, or that of the client that was seen longest ago.
func (s *limitShard) room() int32 {
	if len(s.entries) < s.most {
		s.entries = append(s.entries, limitEntry{})
		return int32(len(s.entries) - 1)
	}
	// Those with requests under way are passed over and become the newest, so that they aren't looked at each time.
	for range 16 {
		i := s.oldest
		s.unlink(i)
		if s.entries[i].open == 0 {
			delete(s.index, s.entries[i].key)
			return i
		}
		s.push(i)
	}
	return -1
}

func (s *limitShard) push(i int32) {
	e := &s.entries[i]
	e.newer, e.older = -1, s.newest
	if s.newest >= 0 {
		s.entries[s.newest].newer = i
	} else {
		s.oldest = i
	}
	s.newest = i
}

func (s *limitShard) unlink(i int32) {
	e := &s.entries[i]
	if e.newer >= 0 {
		s.entries[e.newer].older = e.older
	} else {
		s.newest = e.older
	}
	if e.older >= 0 {
		s.entries[e.older].newer = e.newer
	} else {
		s.oldest = e.newer
	}
}
