package loadbalancer

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
)

// served is a Service as one node last decided about it.
type served struct {
	key     types.NamespacedName
	service *corev1.Service // nil for one that has to go
	elect   elect.Service
	// number is another one each time that the Service is taken in.
	number uint64
	// input is what its table of flows depends on.
	input string
	// outcomes are about its addresses, and winners are who announces each.
	outcomes []outcome
	winners  map[netip.Addr]string
	// applied is what the uplinks have; unsure says that they may have something else.
	applied announce.Service
	unsure  bool

	// What was told of it:
	announcing bool   // that this node announces it
	failing    string // that this node should and can't
	silence    silence
	reported   bool
	links      []string // in its report
	owner      types.UID
}

// outcome is what was decided about one address of a Service.
type outcome struct {
	addr netip.Addr
	// winner is empty for nobody. Then pool, reason and message say why.
	winner  string
	pool    string
	reason  elect.Reason
	message string
	// answer says that this node announces it, at links; nil for all. missing are interfaces that it should announce it at
	// and does not have.
	answer  bool
	links   []string
	missing []string
}

// silence is that nobody announces some addresses of a Service.
type silence struct {
	text  string
	since time.Time
	// told is the text of the last event about it.
	told string
}

// held is an address that Services have.
type held struct {
	addr    netip.Addr
	holders map[types.NamespacedName]*served
	// crowd is what all holders together are to an election; nil if it has to be made anew.
	crowd *elect.Service
	// pool is of inScene.
	pool    config.Pool
	inScene *scene
	// known says that a node has announced it, or may have. Any other address is new to the network, which is asked for it
	// first.
	known bool
	yield yield
	// strangers are when an event has told of machines that have the address too, by what was told.
	strangers map[string]time.Time
}

// yield is that this node leaves an address to another one, because that one announces it too.
type yield struct {
	to    string
	until time.Time
	lasts time.Duration
}

const (
	// firstYield is how long an address is left to another node at first. By then they hear each other, or one of them is
	// gone. Where it stays so, it is tried again less and less often.
	firstYield = 5 * time.Second
	lastYield  = time.Minute
)

// claimed is called when the other node is heard to announce the address.
func (y *yield) claimed(by string, now time.Time) {
	lasts := firstYield
	if y.lasts > 0 && now.Sub(y.until) < y.lasts {
		lasts = min(2*y.lasts, lastYield)
	}
	*y = yield{to: by, until: now.Add(lasts), lasts: lasts}
}

// sharers are the other Services that have the address, by name.
func (h *held) sharers(key types.NamespacedName) []elect.Service {
	var out []elect.Service
	for other, s := range h.holders {
		if other != key {
			out = append(out, s.elect)
		}
	}
	slices.SortFunc(out, func(a, b elect.Service) int { return compareKeys(a.Key, b.Key) })
	return out
}

// seenBy is a Service as the election of the address has to see it.
func (h *held) seenBy(s elect.Service) elect.Service {
	if len(h.holders) < 2 {
		return s
	}
	if h.crowd == nil {
		all := s.WithSharers(h.sharers(s.Key)...)
		h.crowd = &all
	}
	s.Shared, s.Local, s.Serving, s.Draining = true, h.crowd.Local, h.crowd.Serving, h.crowd.Draining
	return s
}

// sameAtUplinks tells whether two states are the same to the uplinks. Whether an address is to be asked for first counts
// only where it is announced anew.
func sameAtUplinks(a, b announce.Service) bool {
	return slices.Equal(a.Spread, b.Spread) && slices.EqualFunc(a.Addresses, b.Addresses, func(x, y announce.Address) bool {
		return x.Addr == y.Addr && x.Answer == y.Answer && slices.Equal(x.Links, y.Links)
	})
}

// answers tells whether an address is announced.
func answers(s announce.Service, addr netip.Addr) bool {
	return slices.ContainsFunc(s.Addresses, func(a announce.Address) bool { return a.Addr == addr && a.Answer })
}
