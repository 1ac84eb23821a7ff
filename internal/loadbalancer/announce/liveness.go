package announce

import (
	"maps"
	"time"
)

// liveness decides who is alive from who answered probes. It sends nothing and reads no clock.
//
// Probes go out in rounds. Rounds are counted, not time: after a pause of this process one round is over at most, and what
// was answered meanwhile is still read.
type liveness struct {
	// misses is how many rounds in a row without an answer make a peer dead.
	misses int
	// hold is how long one that was alive and then dead must be heard without a gap.
	hold time.Duration

	active bool
	// away says that the node was dead to the others when this process began.
	away bool
	// gateways says that there is a gateway that can be asked.
	gateways bool
	carrier  bool
	peers    map[string]*heartbeat
	gateway  heartbeat
	self     heartbeat
	// changed says that the view may be another since this was set to false.
	changed bool
}

// heartbeat is what is known of one other.
type heartbeat struct {
	known bool // alive says something
	alive bool
	was   bool // alive at any time
	// hearing is alive without the wait of one that was dead.
	hearing  bool
	probed   bool // in this round
	answered bool // in this round
	missed   int  // rounds in a row
	// since is the start of the time without a gap, while not alive.
	since time.Time
}

func newLiveness(misses int, hold time.Duration) *liveness {
	return &liveness{misses: misses, hold: hold, carrier: true, peers: map[string]*heartbeat{}}
}

// heard is called for an answer.
func (h *heartbeat) heard(now time.Time, hold time.Duration) {
	h.answered, h.hearing, h.missed = true, true, 0
	h.is(true, now, hold)
}

// is takes over what was found out.
func (h *heartbeat) is(alive bool, now time.Time, hold time.Duration) {
	switch {
	case !alive:
		h.known, h.alive, h.since = true, false, time.Time{}
	case !h.was: // it is new, or this process is
		h.known, h.alive, h.was = true, true, true
	case h.alive:
	case h.since.IsZero():
		h.since = now
	case now.Sub(h.since) >= hold:
		h.alive = true
	}
}

func (h *heartbeat) differs(o *heartbeat) bool { return h.known != o.known || h.alive != o.alive }

// round ends a round.
func (h *heartbeat) round(misses int, now time.Time) {
	if h.probed && !h.answered {
		h.missed++
		h.since = time.Time{}
		if h.missed >= misses {
			h.hearing = false
			h.is(false, now, 0)
		}
	}
	h.probed, h.answered = false, false
}

// activate starts or ends the probing. What is known is forgotten: at the next start those who are heard count at once.
func (l *liveness) activate(on bool) {
	if l.active == on {
		return
	}
	l.active = on
	for _, p := range l.peers {
		*p = heartbeat{}
	}
	l.gateway, l.self, l.changed = heartbeat{}, heartbeat{}, true
	if l.away {
		l.self, l.away = heartbeat{known: true, was: true}, false
	}
}

// setPeers sets whom to probe. What is known of others stays.
func (l *liveness) setPeers(names []string) {
	before := l.peers
	l.changed = true
	l.peers = make(map[string]*heartbeat, len(names))
	for _, name := range names {
		if l.peers[name] = before[name]; l.peers[name] == nil {
			l.peers[name] = &heartbeat{}
		}
	}
}

// setCarrier is called when the last cable is out, or a first one in.
func (l *liveness) setCarrier(on bool, now time.Time) {
	l.carrier = on
	l.judge(now)
}

func (l *liveness) heard(name string, now time.Time) {
	if p := l.peers[name]; p != nil && l.active {
		before := *p
		if l.silent() {
			p.was = false // it was this node that was away, so the peer need not wait
		}
		p.heard(now, l.hold)
		l.changed = l.changed || p.differs(&before)
		l.judge(now)
	}
}

func (l *liveness) heardGateway(now time.Time) {
	if l.active && l.gateway.probed {
		l.gateway.heard(now, l.hold)
		l.judge(now)
	}
}

// next ends a round and begins the next one. It tells whether the gateway has to be asked in it: while no peer is heard,
// which may be due to this node or to them.
func (l *liveness) next(now time.Time) (askGateway bool) {
	for _, p := range l.peers {
		before := *p
		p.round(l.misses, now)
		l.changed = l.changed || p.differs(&before)
		p.probed = true
	}
	l.gateway.round(l.misses, now)
	l.judge(now)
	if askGateway = l.gateways && len(l.peers) > 0 && !l.hearsPeer(); askGateway {
		l.gateway.probed = true
	} else {
		l.gateway = heartbeat{}
	}
	return askGateway
}

func (l *liveness) hearsPeer() bool {
	for _, p := range l.peers {
		if p.hearing {
			return true
		}
	}
	return false
}

// judge decides whether this node is alive to itself. Without another node nobody else announces its addresses, and without
// a gateway the silence of the others says nothing: then the cable decides alone.
func (l *liveness) judge(now time.Time) {
	before := l.self
	defer func() { l.changed = l.changed || l.self.differs(&before) }()
	switch {
	case !l.active:
	case !l.carrier:
		l.self.is(false, now, l.hold)
	case len(l.peers) == 0 || !l.gateways || l.hearsPeer() || l.gateway.hearing:
		l.self.is(true, now, l.hold)
	case l.allMissed():
		l.self.is(false, now, l.hold)
	}
}

// allMissed tells whether everybody is known not to be heard.
func (l *liveness) allMissed() bool {
	for _, p := range l.peers {
		if !p.known || p.hearing {
			return false
		}
	}
	return l.gateway.known && !l.gateway.hearing
}

// silent tells whether this node must not answer.
func (l *liveness) silent() bool { return l.active && l.self.known && !l.self.alive }

func (l *liveness) view() View {
	v := View{Active: l.active, Self: !l.silent(), Peers: map[string]bool{}}
	if !l.active {
		return v
	}
	for name, p := range l.peers {
		if p.known {
			v.Peers[name] = p.alive
		}
	}
	return v
}

func (v View) equal(o View) bool {
	return v.Active == o.Active && v.Self == o.Self && maps.Equal(v.Peers, o.Peers)
}
