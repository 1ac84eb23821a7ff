package bfd

import (
	"encoding/binary"
	"errors"
	"time"
)

// State is that of one end of a session.
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

func (s State) String() string {
	return [...]string{"AdminDown", "Down", "Init", "Up"}[s&3]
}

// diagnostic is why a session went down.
type diagnostic uint8

const (
	noDiagnostic      diagnostic = 0
	detectionExpired  diagnostic = 1
	neighborDown      diagnostic = 3
	administratively  diagnostic = 7
	packetSize                   = 24
	flagPoll                     = 1 << 5
	flagFinal                    = 1 << 4
	flagAuthenticated            = 1 << 2
	flagMultipoint               = 1 << 0
)

// packet is a control packet.
type packet struct {
	state       State
	diagnostic  diagnostic
	poll, final bool
	multiplier  uint8
	mine, yours uint32 // discriminators
	transmit    time.Duration
	receive     time.Duration
}

var (
	errSize    = errors.New("the packet is too short or its length is wrong")
	errVersion = errors.New("the packet is not of BFD version 1")
	errInvalid = errors.New("the packet breaks a rule of BFD")
	errOptions = errors.New("the packet is authenticated or for several receivers, which is not supported")
)

// parse reads a packet and checks all that needs no session.
func parse(b []byte) (packet, error) {
	if len(b) < packetSize || int(b[3]) < packetSize || int(b[3]) > len(b) {
		return packet{}, errSize
	}
	if b[0]>>5 != 1 {
		return packet{}, errVersion
	}
	if b[1]&(flagAuthenticated|flagMultipoint) != 0 {
		return packet{}, errOptions
	}
	p := packet{
		diagnostic: diagnostic(b[0] & 0x1f), state: State(b[1] >> 6), poll: b[1]&flagPoll != 0, final: b[1]&flagFinal != 0,
		multiplier: b[2], mine: binary.BigEndian.Uint32(b[4:]), yours: binary.BigEndian.Uint32(b[8:]),
		transmit: microseconds(b[12:]), receive: microseconds(b[16:]),
	}
	if p.multiplier == 0 || p.mine == 0 || p.yours == 0 && p.state > Down {
		return packet{}, errInvalid
	}
	return p, nil
}

func microseconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// bytes is the packet as it is sent.
func (p packet) bytes() []byte {
	b := make([]byte, packetSize)
	b[0] = 1<<5 | byte(p.diagnostic)
	b[1] = byte(p.state) << 6
	if p.poll {
		b[1] |= flagPoll
	}
	if p.final {
		b[1] |= flagFinal
	}
	b[2], b[3] = p.multiplier, packetSize
	binary.BigEndian.PutUint32(b[4:], p.mine)
	binary.BigEndian.PutUint32(b[8:], p.yours)
	binary.BigEndian.PutUint32(b[12:], uint32(p.transmit.Microseconds()))
	binary.BigEndian.PutUint32(b[16:], uint32(p.receive.Microseconds()))
	return b
}
