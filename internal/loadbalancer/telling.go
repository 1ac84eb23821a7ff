package loadbalancer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config/metallb"
	"minato/internal/loadbalancer/elect"
)

// Reasons of the events of nodes.
const (
	reasonAssigned     = "nodeAssigned"
	reasonFailed       = "announceFailed"
	reasonNotAnnounced = "notAnnounced"
	reasonConflict     = "addressConflict"
)

const (
	// silentFor is how long nobody must announce an address before an event tells so: a Service that is made together with
	// its Pods has no endpoints at first.
	silentFor = 5 * time.Second
	// quietFor is how long a stranger must not be heard before an event tells of it again, and mostStrangers how many an
	// event tells of.
	quietFor      = 10 * time.Minute
	mostStrangers = 8
)

func (d *decider) event(s *served, eventType, reason, message string) {
	d.events.Event(SourceSpeaker, reference(s.service), eventType, reason, message)
}

// tell tells of what is new about a Service.
func (d *decider) tell(s *served, now time.Time) {
	d.tellAssigned(s)
	d.tellFailed(s)
	d.tellSilence(s, now)
}

// tellAssigned tells that this node announces a Service now. One that it announced before the process started is none.
func (d *decider) tellAssigned(s *served) {
	before, now := false, false
	for i := range s.outcomes {
		if v := &s.outcomes[i]; v.answer {
			now = true
			before = before || d.uplinks.answered[v.addr]
		}
	}
	if now && !s.announcing && !before {
		d.event(s, corev1.EventTypeNormal, reasonAssigned, fmt.Sprintf("announcing from node %q with protocol %q", d.node, "layer2"))
	}
	s.announcing = now
}

// tellFailed tells that this node should announce a Service at interfaces that it does not have.
func (d *decider) tellFailed(s *served) {
	text := ""
	for i := range s.outcomes {
		if v := &s.outcomes[i]; len(v.missing) > 0 && text == "" {
			text = fmt.Sprintf("%s is not announced: node %q is to announce it at %s, which is not among its uplinks, %s; change the interfaces of the L2Advertisement, or have it select other nodes",
				v.addr, d.node, strings.Join(v.missing, " or "), strings.Join(d.interfaces, " and "))
		}
	}
	if text != "" && text != s.failing {
		d.event(s, corev1.EventTypeWarning, reasonFailed, text)
	}
	s.failing = text
}

// tellSilence tells that nobody announces addresses of a Service, once that lasts. One node tells it for all.
func (d *decider) tellSilence(s *served, now time.Time) {
	text := d.silenceOf(s)
	if text == "" {
		delete(d.silent, s)
		s.silence = silence{}
		return
	}
	if s.silence.text == "" || s.silence.told != "" && s.silence.text != text {
		s.silence.since = now
	}
	s.silence.text = text
	if text == s.silence.told {
		delete(d.silent, s)
		return
	}
	if at := s.silence.since.Add(silentFor); at.After(now) {
		d.silent[s] = struct{}{}
		if d.silentAt.IsZero() || at.Before(d.silentAt) {
			d.silentAt = at
		}
		return
	}
	delete(d.silent, s)
	s.silence.told = text
	if d.scene.speaker() == d.node {
		d.event(s, corev1.EventTypeWarning, reasonNotAnnounced, text)
	}
}

// silenceOf says why nobody announces some of a Service's addresses. An address that routers are told of needs nobody.
func (d *decider) silenceOf(s *served) string {
	var addrs, messages []string
	for i := range s.outcomes {
		v := &s.outcomes[i]
		if v.winner != "" || v.reason == elect.NoMatchingAdvertisement && d.scene.toldByBGP(v.pool) {
			continue
		}
		addrs = append(addrs, v.addr.String())
		if !slices.Contains(messages, v.message) {
			messages = append(messages, v.message)
		}
	}
	if len(addrs) == 0 {
		return ""
	}
	return strings.Join(addrs, ", ") + ": " + strings.Join(messages, " ")
}

// tellConflict tells that a machine which is no node has an address. The node that announces it tells, or the one that
// tells what is no one's to tell.
func (d *decider) tellConflict(h *held, c announce.Conflict, now time.Time) {
	winner := ""
	for _, s := range h.holders {
		winner = max(winner, s.winners[h.addr])
	}
	if winner != d.node && (winner != "" || d.scene.speaker() != d.node) {
		return
	}
	text := fmt.Sprintf("%s is also used by a machine with the hardware address %s on the network of node %q; give the machine another address, or take this one out of its pool",
		c.Addr, c.MAC, d.node)
	if c.Held {
		text = fmt.Sprintf("%s is not announced: a machine with the hardware address %s on the network of node %q has it already; give the machine another address, or take this one out of its pool",
			c.Addr, c.MAC, d.node)
	}
	told, known := h.strangers[text]
	if !known && len(h.strangers) >= mostStrangers {
		maps.DeleteFunc(h.strangers, func(_ string, at time.Time) bool { return now.Sub(at) >= quietFor })
		if len(h.strangers) >= mostStrangers {
			return
		}
	}
	if h.strangers == nil {
		h.strangers = map[string]time.Time{}
	}
	h.strangers[text] = now
	if known && now.Sub(told) < quietFor {
		return
	}
	for _, s := range h.holders {
		d.event(s, corev1.EventTypeWarning, reasonConflict, text)
	}
}

// report has the object written that tells whether this node announces a Service, and where.
func (d *decider) report(s *served) {
	if !s.announcing {
		if s.reported {
			d.reports.want(metallb.KindServiceL2Status, d.node, s.key, nil)
		}
		s.reported, s.links = false, nil
		return
	}
	links := s.answeredAt()
	if s.reported && slices.Equal(links, s.links) && s.owner == d.scene.self {
		return
	}
	s.reported, s.links, s.owner = true, links, d.scene.self
	var interfaces []any
	for _, name := range links {
		interfaces = append(interfaces, map[string]any{"name": name})
	}
	d.reports.want(metallb.KindServiceL2Status, d.node, s.key, &report{
		fields: map[string]any{"interfaces": interfaces}, owner: d.scene.self, alive: d.scene.alive,
	})
}

// answeredAt are the interfaces where this node announces a Service; nil is every uplink.
func (s *served) answeredAt() []string {
	var out []string
	for i := range s.outcomes {
		v := &s.outcomes[i]
		switch {
		case !v.answer:
		case len(v.links) == 0:
			return nil
		default:
			out = append(out, v.links...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
