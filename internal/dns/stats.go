package dns

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// trafficStats counts questions. Each packet loop has its own, so that no two
// threads write to the same memory; a scrape adds them up.
type trafficStats struct {
	requests  [2][2][]atomic.Uint64 // by protocol, family, type
	rcodes    [rcodes]atomic.Uint64
	durations buckets
	asked     [2]buckets // sizes, by protocol
	answered  [2]buckets
}

const (
	protoUDP = iota
	protoTCP
)

const (
	family4 = iota
	family6
)

const rcodes = 24 // up to BADCOOKIE

func protoNames() [2]string  { return [2]string{"udp", "tcp"} }
func familyNames() [2]string { return [2]string{"1", "2"} } // as the IANA numbers them

// countedTypes are the types that are counted separately; all others count as "other".
var countedTypes = [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeMX, dns.TypeSOA, dns.TypeNS, dns.TypeCNAME, dns.TypeHTTPS, dns.TypeANY}

func typeIndex(t uint16) int {
	for i, c := range countedTypes {
		if t == c {
			return i
		}
	}
	return len(countedTypes)
}

// buckets is a histogram that can be written to at any time.
type buckets struct {
	bounds []float64
	counts []atomic.Uint64 // one more than bounds
	sum    atomic.Uint64   // in the histogram's smallest unit
}

func newBuckets(bounds ...float64) buckets {
	return buckets{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

func (b *buckets) add(v float64, sum uint64, n int) {
	i := 0
	for i < len(b.bounds) && v > b.bounds[i] {
		i++
	}
	b.counts[i].Add(uint64(n))
	b.sum.Add(sum)
}

// durationBounds are CoreDNS's, in seconds, with finer ones before them.
func durationBounds() []float64 {
	return []float64{.00001, .00002, .00005, .0001, .00025, .0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1.024, 2.048, 4.096, 8.192}
}

func sizeBounds() []float64 {
	return []float64{0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000}
}

func newTrafficStats() *trafficStats {
	t := &trafficStats{durations: newBuckets(durationBounds()...)}
	for proto := range t.requests {
		for family := range t.requests[proto] {
			t.requests[proto][family] = make([]atomic.Uint64, len(countedTypes)+1)
		}
		t.asked[proto], t.answered[proto] = newBuckets(sizeBounds()...), newBuckets(sizeBounds()...)
	}
	return t
}

func (t *trafficStats) count(proto, family int, qtype uint16, reply []byte, asked int) {
	t.requests[proto][family][typeIndex(qtype)].Add(1)
	rcode := min(int(binary.BigEndian.Uint16(reply[2:])&0xF), rcodes-1)
	t.rcodes[rcode].Add(1)
	t.asked[proto].add(float64(asked), uint64(asked), 1)
	t.answered[proto].add(float64(len(reply)), uint64(len(reply)), 1)
}

// took records that n questions took d to answer; the answers of a batch leave together.
func (t *trafficStats) took(d time.Duration, n int) {
	if n > 0 {
		t.durations.add(d.Seconds(), uint64(d.Nanoseconds())*uint64(n), n)
	}
}

// forwardStats counts questions about names outside the cluster.
type forwardStats struct {
	hits, misses, staleServed, prefetched atomic.Uint64
	rejected, broken                      atomic.Uint64
	asked, failed                         atomic.Uint64
	seconds                               atomic.Uint64 // nanoseconds waited for upstreams
}

func (s *forwardStats) lookup(f freshness) {
	if f == missing || f == stale {
		s.misses.Add(1)
	} else {
		s.hits.Add(1)
	}
}

func (s *forwardStats) answered(r outcome) {
	s.asked.Add(1)
	s.seconds.Add(uint64(r.took))
	if r.err != nil {
		s.failed.Add(1)
	}
}
