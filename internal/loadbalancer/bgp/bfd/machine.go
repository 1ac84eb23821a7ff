package bfd

import "time"

// Timing is how a path is probed.
type Timing struct {
	// Receive is the shortest interval at which packets are wanted, Transmit that at which they are sent.
	Receive, Transmit time.Duration
	// Multiplier is how many packets have to be missing for the path to be down.
	Multiplier uint8
}

// slow is the shortest interval for packets of a session that isn't up.
const slow = time.Second

// machine is this end of a session: what RFC 5880, section 6.8, calls the state variables. It reads no clock.
type machine struct {
	timing     Timing
	mine       uint32 // discriminator
	state      State
	diagnostic diagnostic
	polling    bool

	// What the other end has told; zero before that.
	heard           bool
	yours           uint32
	theirReceive    time.Duration
	theirTransmit   time.Duration
	theirMultiplier uint8
}

func newMachine(t Timing, discriminator uint32) *machine {
	return &machine{timing: t, mine: discriminator, state: Down}
}

// outcome is what a packet, or the lack of one, leads to.
type outcome struct {
	// changed says that the state did.
	changed bool
	// failed says that the path was up and isn't any more. It is false where the other end was told to stop.
	failed bool
	// answer asks for a final packet at once.
	answer bool
	// send asks for the next packet at once, since the state is new or the interval shorter.
	send bool
}

// receive takes in a packet. ok is false for one that is not of this session.
func (m *machine) receive(p packet) (o outcome, ok bool) {
	if p.yours != 0 && p.yours != m.mine {
		return outcome{}, false
	}
	was, interval := m.state, m.interval()
	m.heard, m.yours = true, p.mine
	m.theirReceive, m.theirTransmit, m.theirMultiplier = p.receive, p.transmit, p.multiplier
	if p.final {
		m.polling = false
	}
	switch {
	case p.state == AdminDown:
		if was != Down {
			m.enter(Down, neighborDown)
		}
	case was == Down && p.state == Down:
		m.enter(Init, m.diagnostic)
	case was == Down && p.state == Init, was == Init && p.state >= Init:
		m.enter(Up, noDiagnostic)
	case was == Up && p.state == Down:
		m.enter(Down, neighborDown)
		o.failed = true
	}
	o.changed, o.answer = m.state != was, p.poll
	now := m.interval()
	o.send = o.changed || now != 0 && (interval == 0 || now < interval)
	return o, true
}

// expire takes in that no packet has come for detection().
func (m *machine) expire() (o outcome) {
	m.yours = 0
	if m.state == Down {
		return o
	}
	o.changed, o.send, o.failed = true, true, m.state == Up
	m.enter(Down, detectionExpired)
	return o
}

func (m *machine) enter(s State, d diagnostic) {
	m.state, m.diagnostic = s, d
	// The interval of sending changes, which the other end has to confirm.
	m.polling = s == Up
}

// transmit is the interval at which this end would send.
func (m *machine) transmit() time.Duration {
	if m.state != Up {
		return max(slow, m.timing.Transmit)
	}
	return m.timing.Transmit
}

// interval is the time between two packets, of which up to a quarter is to be taken off by chance. It is 0 when the other
// end wants none.
func (m *machine) interval() time.Duration {
	if m.heard && m.theirReceive == 0 {
		return 0
	}
	return max(m.transmit(), m.theirReceive)
}

// detection is how long after a packet the path is down without another one.
func (m *machine) detection() time.Duration {
	return time.Duration(m.theirMultiplier) * max(m.timing.Receive, m.theirTransmit)
}

// packet is the next one to send.
func (m *machine) packet() packet {
	return packet{
		state: m.state, diagnostic: m.diagnostic, poll: m.polling, multiplier: m.timing.Multiplier,
		mine: m.mine, yours: m.yours, transmit: m.transmit(), receive: m.timing.Receive,
	}
}

// final answers a poll.
func (m *machine) final() packet {
	p := m.packet()
	p.poll, p.final = false, true
	return p
}
