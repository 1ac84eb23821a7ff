package zone

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"
)

// Verdict says what AppendAnswer did.
type Verdict uint8

const (
	// Foreign: another server answers the question.
	Foreign Verdict = iota
	// Unpacked: the zone answers the question, but only Lookup gives the answer.
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

// AppendAnswer is Lookup for the most frequent questions: it packs addresses,
// reverse names and negative answers in the wire format, without allocating.
//
// msg is a reply with a header, in which every count but the question's is zero,
// and the question. q.Name is the question's name in presentation format and has
// no escapes. AppendAnswer appends the answer and completes the header. With a
// verdict other than Packed, msg is as it was; so it is for an answer that would
// make msg longer than limit. rotate says which of several addresses comes first.
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

// packing is a reply to which records are still appended.
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

// pack decides, and appends the records. It returns false for an answer that is too long or that has SRV, CNAME, SOA, NS
// or TXT records, which are rarely asked for.
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

// addresses appends a record for each address of the type that is asked for.
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

// record appends a record up to its data. The record's name is a pointer to offset.
func (w *packing) record(offset int, rrtype, dataLen uint16) {
	w.msg = binary.BigEndian.AppendUint16(w.msg, pointerFlags|uint16(offset))
	w.msg = binary.BigEndian.AppendUint16(w.msg, rrtype)
	w.msg = binary.BigEndian.AppendUint16(w.msg, dns.ClassINET)
	w.msg = binary.BigEndian.AppendUint32(w.msg, w.snap.zone.ttl)
	w.msg = binary.BigEndian.AppendUint16(w.msg, dataLen)
}

// negative sets the code and appends the zone's SOA record (RFC 2308). A label
// with its length byte is as long as its text with the dot, so the zone's name has
// the same offset in the wire format as in the text.
func (w *packing) negative(rcode byte) bool {
	return w.soa(rcode, headerSize+w.zoneOffset, headerSize+w.zoneOffset)
}

// soa sets the code and appends the SOA record of the name at the offset owner.
// domain is the offset of the zone's domain, to which the record's data points; 0
// says that the message does not hold it, so that it is written out.
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

// prepare packs the name ns.dns.<domain> for SOA records.
func (z *settings) prepare() {
	z.nsData = append([]byte(nil), nsLabels...)
	z.nsData = appendLabels(z.nsData, z.domain)
	z.nsData = append(z.nsData, 0)
}

// appendLabels packs a name that has no escapes, without the root's empty label at its end.
func appendLabels(msg []byte, name string) []byte {
	name = strings.TrimSuffix(name, ".")
	for name != "" {
		label, rest, _ := strings.Cut(name, ".")
		msg = append(append(msg, byte(len(label))), label...)
		name = rest
	}
	return msg
}

// reverse packs the answer to a question about a name outside the zone's domain.
func (w *packing) reverse() ([]byte, Verdict) {
	msg := w.msg
	var d reverse
	switch {
	case !d.decide(w.snap, w.q, nil):
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

// pointers appends a PTR record for each name.
func (w *packing) pointers(names []string) bool {
	z := w.snap.zone
	for _, name := range names {
		// Each label has a length byte in place of the dot before it; the first label's is the 1.
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
