package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"

	"minato/internal/dns/zone"
)

const (
	dnsHeaderSize = 12
	udpBatch      = 32   // datagrams taken from and given to the kernel at once
	udpReadSize   = 1500 // no real question is longer; a longer datagram is cut, cannot be read and is refused
)

// packetLoop answers the questions that come to one UDP socket. It answers most
// questions about the cluster's names, and those that the cache has an answer for, at
// once: in the wire format and without allocating. Every other question gets a
// goroutine of its own.
type packetLoop struct {
	server *Server
	conn   *net.UDPConn
	batch  *ipv4.PacketConn // its reading and writing of batches works for IPv6 sockets too
	stats  *trafficStats

	in, out []ipv4.Message
	buffers [][]byte
	name    [256]byte // the question's name in presentation format
	key     [280]byte
	rotate  uint32
}

func newPacketLoop(s *Server, conn *net.UDPConn, stats *trafficStats) *packetLoop {
	l := &packetLoop{server: s, conn: conn, batch: ipv4.NewPacketConn(conn), stats: stats, rotate: rand.Uint32()}
	for range udpBatch {
		l.in = append(l.in, ipv4.Message{Buffers: [][]byte{make([]byte, udpReadSize)}})
		l.buffers = append(l.buffers, make([]byte, maxUDPSize+64))
	}
	l.out = make([]ipv4.Message, 0, udpBatch)
	return l
}

// run answers until ctx ends or the socket is closed.
func (l *packetLoop) run(ctx context.Context) error {
	for {
		n, err := l.batch.ReadBatch(l.in, 0)
		if err != nil {
			if ctx.Err() != nil || l.server.handling.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				continue // such as a refusal that came back from a client that has gone
			}
			return fmt.Errorf("dns server: read on udp %s: %w", l.conn.LocalAddr(), err)
		}
		l.out = l.out[:0]
		now := time.Now()
		for i := range n {
			m := &l.in[i]
			reply := l.handle(m.Buffers[0][:m.N], m.Addr, now)
			if reply == nil {
				continue
			}
			at := len(l.out)
			l.out = l.out[:at+1]
			if l.out[at].Buffers == nil {
				l.out[at].Buffers = make([][]byte, 1)
			}
			l.out[at].Buffers[0], l.out[at].Addr = reply, m.Addr
		}
		l.stats.took(time.Since(now), len(l.out))
		l.send()
	}
}

// send gives the replies to the kernel. A reply that the kernel refuses, because the
// client has gone, is left out and the others are sent.
func (l *packetLoop) send() {
	for rest := l.out; len(rest) > 0; {
		n, err := l.batch.WriteBatch(rest, 0)
		if err != nil {
			n = 1
		}
		rest = rest[n:]
	}
}

// handle returns the reply to a message, or nil if a goroutine sends it later or there is to be none.
func (l *packetLoop) handle(msg []byte, from net.Addr, now time.Time) []byte {
	if len(msg) < dnsHeaderSize || msg[2]&0x80 != 0 {
		return nil // not a question: two servers that answered answers would never stop
	}
	q, ok := l.parse(msg)
	if ok {
		if reply := l.short(msg, &q, now); reply != nil {
			l.stats.count(protoUDP, l.family(), q.qtype, reply, len(msg))
			return reply
		}
	}
	l.long(msg, from)
	return nil
}

func (l *packetLoop) family() int {
	if addr, ok := l.conn.LocalAddr().(*net.UDPAddr); ok && addr.IP.To4() == nil && !addr.IP.IsUnspecified() {
		return family6
	}
	return family4
}

// parsedQuestion is a question of the form that nearly all questions have.
type parsedQuestion struct {
	name   string // presentation format, absolute; shares the loop's buffer
	qtype  uint16
	end    int // of the question section
	edns   bool
	dnssec bool
	size   int // the longest reply that the client accepts
}

// parse reads a plain question: one name of ordinary characters, class IN, and
// no record but an OPT record.
func (l *packetLoop) parse(msg []byte) (parsedQuestion, bool) {
	q := parsedQuestion{size: dns.MinMsgSize}
	// Opcode QUERY; one question, no answer, no authority, at most one more.
	if len(msg) < dnsHeaderSize || msg[2]&0x78 != 0 || msg[4] != 0 || msg[5] != 1 || binary.BigEndian.Uint32(msg[6:]) != 0 || msg[10] != 0 || msg[11] > 1 {
		return q, false
	}
	at, n := dnsHeaderSize, 0
	for {
		if at >= len(msg) {
			return q, false
		}
		size := int(msg[at])
		at++
		if size == 0 {
			break
		}
		if size > 63 || at+size >= len(msg) || n+size+1 > 254 {
			return q, false
		}
		for _, c := range msg[at : at+size] {
			if !plainCharacter[c] {
				return q, false
			}
			l.name[n] = c
			n++
		}
		l.name[n] = '.'
		n++
		at += size
	}
	if n == 0 || at+4 > len(msg) {
		return q, false
	}
	q.name = unsafe.String(&l.name[0], n)
	q.qtype = binary.BigEndian.Uint16(msg[at:])
	if binary.BigEndian.Uint16(msg[at+2:]) != dns.ClassINET || q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR {
		return q, false
	}
	q.end = at + 4
	if msg[11] == 0 {
		return q, q.end == len(msg)
	}
	return q, q.parseOPT(msg[q.end:])
}

// parseOPT reads an OPT record of version 0 and ignores its options.
func (q *parsedQuestion) parseOPT(rr []byte) bool {
	if len(rr) < optSize || rr[0] != 0 || binary.BigEndian.Uint16(rr[1:]) != dns.TypeOPT || rr[5] != 0 || rr[6] != 0 {
		return false
	}
	q.edns, q.dnssec = true, rr[7]&0x80 != 0
	q.size = min(max(int(binary.BigEndian.Uint16(rr[3:])), dns.MinMsgSize), maxUDPSize)
	return optSize+int(binary.BigEndian.Uint16(rr[9:])) == len(rr)
}

// optSize is the size of an OPT record without options.
const optSize = 11

// plainCharacter are those of host names and service labels; every other one
// would have to be escaped in presentation format.
var plainCharacter = func() (t [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*/" {
		t[c] = true
	}
	return t
}()

// short returns an answer from the zone or the cache, or nil if a longer way leads to it (see long).
func (l *packetLoop) short(msg []byte, q *parsedQuestion, now time.Time) []byte {
	s := l.server
	snap, p := s.cfg.Source.Snapshot(), s.cfg.Settings.policy()
	if snap == nil || !p.plain() {
		return nil
	}
	limit := q.size
	if q.edns {
		limit -= optSize
	}
	reply := append(l.buffers[len(l.out)][:0], msg[:q.end]...)
	reply[2] = 0x80 | msg[2]&0x01 // a response; recursion desired as it was asked for
	reply[3] = 0x80 | msg[3]&0x10 // recursion available; checking disabled as it was asked for
	clear(reply[6:dnsHeaderSize])
	l.rotate++
	reply, verdict := snap.AppendAnswer(reply, zone.Question{Name: q.name, Type: q.qtype}, limit, l.rotate)
	switch verdict {
	case zone.Unpacked:
		return nil
	case zone.Foreign:
		if reply = l.cached(reply, msg, q, p, limit, now); reply == nil {
			return nil
		}
	}
	if q.edns {
		reply = appendOPT(reply, q.dnssec)
	}
	return reply
}

// cached appends an answer from the cache. It returns nil if there is none or it is about to expire.
func (l *packetLoop) cached(reply, msg []byte, q *parsedQuestion, p *policy, limit int, now time.Time) []byte {
	key := cacheKey(l.key[:0], q.name, q.qtype, msg[2]&0x01 != 0, msg[3]&0x10 != 0, q.dnssec)
	f := l.server.forwarder
	e := f.cache.peek(key, now, &p.cache)
	if e == nil || len(e.wire) > limit {
		return nil
	}
	f.stats.lookup(fresh)
	reply[3] |= e.wire[3] & 0x0F
	if e.wire[3]&0x20 != 0 && (msg[3]&0x20 != 0 || q.dnssec) {
		reply[3] |= 0x20 // authenticated data, for clients that know this flag
	}
	copy(reply[6:dnsHeaderSize], e.wire[6:dnsHeaderSize])
	return e.appendTo(reply, q.end-dnsHeaderSize, now, fresh)
}

func appendOPT(reply []byte, dnssec bool) []byte {
	do := byte(0)
	if dnssec {
		do = 0x80
	}
	binary.BigEndian.PutUint16(reply[10:], binary.BigEndian.Uint16(reply[10:])+1)
	return append(reply, 0, 0, byte(dns.TypeOPT), maxUDPSize>>8, maxUDPSize&0xFF, 0, 0, do, 0, 0, 0)
}

// long answers in a goroutine of its own, or with SERVFAIL if there are too many.
func (l *packetLoop) long(msg []byte, from net.Addr) {
	s := l.server
	req := new(dns.Msg)
	if err := req.Unpack(msg); err != nil {
		l.refuse(msg, from, dns.RcodeFormatError)
		return
	}
	if !s.enter() {
		l.refuse(msg, from, dns.RcodeServerFailure)
		return
	}
	go func() {
		defer s.leave()
		_, _ = s.serve(req, from, len(msg), func(reply []byte) error {
			_, err := l.conn.WriteTo(reply, from)
			return err
		})
	}()
}

// refuse answers with a header that has the code, and nothing else.
func (l *packetLoop) refuse(msg []byte, from net.Addr, rcode byte) {
	var reply [dnsHeaderSize]byte
	copy(reply[:], msg[:2])
	reply[2] = 0x80 | msg[2]&0x79 // the opcode and the desire for recursion stay
	reply[3] = 0x80 | rcode
	l.stats.count(protoUDP, l.family(), 0, reply[:], len(msg))
	_, _ = l.conn.WriteTo(reply[:], from) // the client may have gone
}
