package zone

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"
)

// Verdict says what AppendAnswer did.
type Verdict uint8

const (
	// Foreign: the question is somebody else's to answer.
	Foreign Verdict = iota
	// Unpacked: the question is the zone's, but only Lookup answers it.
	Unpacked
	// Packed: the message is complete.
	Packed
)

// Offsets and sizes of the wire format.
const (
	headerSize   = 12
	recordSize   = 12 // of a record without its data, its name a pointer
	soaNumbers   = 20 // of a SOA record's five numbers
	flagAA       = 0x04
	pointerFlags = 0xC000
)

// AppendAnswer is Lookup for the questions that are asked most, in the wire
// format and without allocations: addresses, reverse names and names that do
// not exist. msg holds a reply's header, its counts but for the question's
// zero, and the question, whose name in presentation format is q.Name, free of
// escapes; the answer is appended and the header completed. An answer that
// would make msg longer than limit is left to Lookup. Of several addresses,
// rotate says which comes first.
func (s *Snapshot) AppendAnswer(msg []byte, q Question, limit int, rotate uint32) ([]byte, Verdict) {
	rel, in := cutZone(q.Name, s.zone.domain)
	w := packing{snap: s, q: q, msg: msg, limit: limit, rotate: rotate}
	if !in {
		return w.reverse()
	}
	if q.Type == dns.TypeANY {
		return msg, Unpacked
	}
	w.msg[2] |= flagAA
	w.zoneOffset = len(q.Name) - len(s.zone.domain)
	if !w.pack(rel) {
		msg[2] &^= flagAA
		msg[3] &^= 0xF
		return msg, Unpacked
	}
	return w.finish(), Packed
}

// packing is a message in the making.
type packing struct {
	snap       *Snapshot
	q          Question
	msg        []byte
	limit      int
	rotate     uint32
	answers    uint16
	authority  uint16
	zoneOffset int // where the zone's name is within the question's
}

func (w *packing) finish() []byte {
	binary.BigEndian.PutUint16(w.msg[6:], w.answers)
	binary.BigEndian.PutUint16(w.msg[8:], w.authority)
	return w.msg
}

// pack puts what is decided in the wire format. It returns false for an answer that is too large, or of a kind that is
// asked for rarely.
func (w *packing) pack(rel string) bool {
	var d decision
	switch d.decide(w.snap, w.q.Type, rel, nil) {
	case addresses:
		return w.addresses(&d)
	case nodata:
		return w.negative(dns.RcodeSuccess)
	case nxdomain:
		return w.negative(dns.RcodeNameError)
	}
	return false
}

// addresses answers with those of the type that is asked for.
func (w *packing) addresses(d *decision) bool {
	v4, count := w.q.Type == dns.TypeA, d.len()
	size := recordSize + 16
	if v4 {
		size = recordSize + 4
	}
	start := int(w.rotate % uint32(count))
	for i := range count {
		at := start + i
		if at >= count {
			at -= count
		}
		a := d.at(at)
		if a.Is4() != v4 {
			continue
		}
		if len(w.msg)+size > w.limit {
			return false
		}
		w.record(headerSize, w.q.Type, uint16(size-recordSize))
		if v4 {
			b := a.As4()
			w.msg = append(w.msg, b[:]...)
		} else {
			b := a.As16()
			w.msg = append(w.msg, b[:]...)
		}
		w.answers++
	}
	return true
}

// record appends all of a record but its data; its name is at offset already.
func (w *packing) record(offset int, rrtype, dataLen uint16) {
	w.msg = binary.BigEndian.AppendUint16(w.msg, pointerFlags|uint16(offset))
	w.msg = binary.BigEndian.AppendUint16(w.msg, rrtype)
	w.msg = binary.BigEndian.AppendUint16(w.msg, dns.ClassINET)
	w.msg = binary.BigEndian.AppendUint32(w.msg, w.snap.zone.ttl)
	w.msg = binary.BigEndian.AppendUint16(w.msg, dataLen)
}

// negative says that there is no such name, or nothing of the type, with the
// zone's SOA record. Labels keep their length in the wire format, so a suffix
// is at the same offset there as in the text.
func (w *packing) negative(rcode byte) bool {
	return w.soa(rcode, headerSize+w.zoneOffset, headerSize+w.zoneOffset)
}

// soa appends the record of authority for the name at owner. The zone's own
// name is at domain, or, where domain is 0, has to be written out.
func (w *packing) soa(rcode byte, owner, domain int) bool {
	z := w.snap.zone
	names := len(nsLabels) + 2 + len(mailLabel) + 2
	if domain == 0 {
		names = len(z.nsData) + len(mailLabel) + 2
	}
	if len(w.msg)+recordSize+names+soaNumbers > w.limit {
		return false
	}
	w.msg[3] |= rcode
	w.record(owner, dns.TypeSOA, uint16(names+soaNumbers))
	if domain == 0 {
		domain = len(w.msg) + len(nsLabels)
		w.msg = append(w.msg, z.nsData...)
	} else {
		w.msg = append(w.msg, nsLabels...)
		w.msg = binary.BigEndian.AppendUint16(w.msg, pointerFlags|uint16(domain))
	}
	w.msg = append(w.msg, mailLabel...)
	w.msg = binary.BigEndian.AppendUint16(w.msg, pointerFlags|uint16(domain))
	for _, v := range [...]uint32{w.snap.serial, soaRefresh, soaRetry, soaExpire, z.ttl} {
		w.msg = binary.BigEndian.AppendUint32(w.msg, v)
	}
	w.authority++
	return true
}

const (
	nsLabels  = "\x02ns\x03dns"
	mailLabel = "\x0ahostmaster"
)

// prepare packs what every answer of the zone has in common.
func (z *settings) prepare() {
	z.nsData = append([]byte(nil), nsLabels...)
	z.nsData = appendLabels(z.nsData, z.domain)
	z.nsData = append(z.nsData, 0)
}

// appendLabels packs a name without escapes, but for the root's empty label.
func appendLabels(msg []byte, name string) []byte {
	name = strings.TrimSuffix(name, ".")
	for name != "" {
		label, rest, _ := strings.Cut(name, ".")
		msg = append(append(msg, byte(len(label))), label...)
		name = rest
	}
	return msg
}

// reverse answers a question outside the domain.
func (w *packing) reverse() ([]byte, Verdict) {
	msg := w.msg
	d := w.snap.decideReverse(w.q, nil)
	switch {
	case d.foreign:
		return msg, Foreign
	case w.q.Type == dns.TypeANY:
		return msg, Unpacked
	case len(d.names) > 0:
		if !w.pointers(d.names) {
			return msg, Unpacked
		}
	default:
		rcode := byte(dns.RcodeSuccess)
		if !d.exists {
			rcode = dns.RcodeNameError
		}
		owner := len(w.q.Name) - len(reverseZone(d.prefix, w.q.Name))
		if !w.soa(rcode, headerSize+owner, 0) {
			return msg, Unpacked
		}
	}
	w.msg[2] |= flagAA
	return w.finish(), Packed
}

// pointers appends the names an address points back to.
func (w *packing) pointers(names []string) bool {
	z := w.snap.zone
	for _, name := range names {
		// "name" + suffix, each with one dot or length byte more than it shows.
		size := 1 + len(name) + len(z.suffix)
		if len(w.msg)+recordSize+size > w.limit {
			return false
		}
		w.record(headerSize, dns.TypePTR, uint16(size))
		w.msg = appendLabels(w.msg, name)
		w.msg = appendLabels(w.msg, z.suffix[1:])
		w.msg = append(w.msg, 0)
		w.answers++
	}
	return true
}
