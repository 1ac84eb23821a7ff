package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
	"minato/internal/loadbalancer/elect"
)

// decider brings what package elect decides to the uplinks of one node.
type decider struct {
	node    string
	objects Objects
	nodes   func() []*corev1.Node
	// configuration is what Settings have.
	configuration func() config.Config
	serves        func(class *string) bool
	// gateways are the node's routers, and interfaces the names of its uplinks.
	gateways   []netip.Addr
	interfaces []string
	uplinks    *uplinks
	events     Events
	reports    reporter
	now        func() time.Time

	// mu guards what follows for Explain; the loop of the node alone changes it.
	mu       sync.Mutex
	scene    *scene
	view     announce.View
	services map[types.NamespacedName]*served
	addrs    map[netip.Addr]*held
	// yielding are addresses that are left to another node.
	yielding map[netip.Addr]*held
	// silent are Services whose silence an event is to tell of, the first one at silentAt.
	silent   map[*served]struct{}
	silentAt time.Time
	// failed could not be brought to the uplinks; they are tried again.
	failed map[*served]struct{}
	retry  backoff
	// taken counts the states of Services that were taken in.
	taken uint64
	// settled says that what existed at the start was decided.
	settled bool
}

// How long what could not be written waits for the next try.
const (
	firstNodeRetry = time.Second
	lastNodeRetry  = 30 * time.Second
)

// reset forgets everything.
func (d *decider) reset() {
	d.scene, d.view, d.settled = &scene{tables: newTables()}, announce.View{}, false
	d.services = map[types.NamespacedName]*served{}
	d.addrs, d.yielding = map[netip.Addr]*held{}, map[netip.Addr]*held{}
	d.silent, d.silentAt = map[*served]struct{}{}, time.Time{}
	d.failed, d.retry = map[*served]struct{}{}, backoff{}
}

// start begins anew. What an earlier process left at the uplinks stays as it is until the first step. An error is one that
// the first step tries to mend.
func (d *decider) start(ctx context.Context, group *errgroup.Group) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reset()
	d.scene = newScene(d.node, d.nodes(), d.view, d.gateways, d.configuration())
	d.reports.begin(metallb.KindServiceL2Status, d.node)
	return d.uplinks.start(ctx, group, d.scene.peers)
}

// takenOver tells from how many other nodes the first step has to know whether they are heard. What an earlier process did
// for a dead node must not be undone for as long as it takes to find out again.
func (d *decider) takenOver() (peers int, wait bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.scene.peers), d.uplinks.opened
}

// later is when something is to be looked at again that doesn't change by itself; the zero time is never.
func (d *decider) later() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.silentAt
	sooner := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	for _, h := range d.yielding {
		sooner(h.yield.until)
	}
	if d.retry.failures > 0 {
		sooner(d.retry.at)
	}
	return first
}

// step decides about the Services that changed, or about all, and about what is due.
func (d *decider) step(n noted) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	look := map[*served]struct{}{}
	if n.all {
		d.view = n.view
		d.look(now)
		for _, s := range d.services {
			look[s] = struct{}{}
		}
	}
	for key := range n.services {
		d.takeIn(key, look)
	}
	for _, name := range slices.Sorted(maps.Keys(n.conflicts)) {
		d.conflict(n.conflicts[name], now, look)
	}
	d.due(now, look)
	err := errors.Join(d.uplinks.sync(), d.settle(look, now))
	if n.all && !d.settled {
		d.settled = true
		d.reports.settled(metallb.KindServiceL2Status, d.node)
	}
	if err == nil && d.settled && len(d.failed) == 0 {
		err = d.uplinks.sweep()
	}
	if err == nil && len(d.failed) == 0 {
		d.retry = backoff{}
	} else if err != nil && !d.retry.at.After(now) {
		d.retry.failed(now, firstNodeRetry, lastNodeRetry)
	}
	return err
}

// look takes in the nodes, who of them is heard, and the configuration.
func (d *decider) look(now time.Time) {
	before := d.scene
	d.scene = newScene(d.node, d.nodes(), d.view, d.gateways, d.configuration())
	d.scene.tables.follow(before.tables)
	d.uplinks.setPeers(d.scene.peers)
	for addr, h := range d.yielding {
		if to := h.yield.to; before.alive[to] && !d.scene.alive[to] { // it died meanwhile
			h.yield.until = now
			delete(d.yielding, addr)
		}
	}
}

// due adds what is to be looked at again by now.
func (d *decider) due(now time.Time, look map[*served]struct{}) {
	for addr, h := range d.yielding {
		if !h.yield.until.After(now) {
			delete(d.yielding, addr)
			h.addTo(look)
		}
	}
	if !d.silentAt.IsZero() && !d.silentAt.After(now) {
		d.silentAt = time.Time{} // those that aren't due yet set it again
		for s := range d.silent {
			look[s] = struct{}{}
		}
	}
	if d.retry.failures > 0 && !d.retry.at.After(now) {
		maps.Copy(look, d.failed)
	}
}

// addTo adds all Services that have an address.
func (h *held) addTo(look map[*served]struct{}) {
	for _, s := range h.holders {
		look[s] = struct{}{}
	}
}

// takeIn takes in the present state of a Service. Who announces a shared address depends on all that have it.
func (d *decider) takeIn(key types.NamespacedName, look map[*served]struct{}) {
	service, epSlices := d.objects.Service(key)
	s := d.services[key]
	if service != nil && (service.Spec.Type != corev1.ServiceTypeLoadBalancer || !d.serves(service.Spec.LoadBalancerClass)) {
		service = nil
	}
	if service == nil && s == nil {
		return
	}
	if s == nil {
		s = &served{key: key}
		d.services[key] = s
	}
	look[s] = struct{}{}
	if s.service != nil && service != nil && s.service.UID != service.UID {
		s.announcing, s.failing, s.silence = false, "", silence{} // nothing was told of this one
	}
	before := s.elect.Addresses
	s.service, s.elect = service, elect.Service{Key: key}
	if service != nil {
		s.elect = elect.FromService(service, epSlices, "")
		s.elect.Addresses = slices.DeleteFunc(s.elect.Addresses, func(a netip.Addr) bool { return !announceable(a) })
	}
	s.input = tableInput(s.elect)
	d.taken++
	s.number = d.taken
	for _, addr := range before {
		d.release(addr, s, look)
	}
	for _, addr := range s.elect.Addresses {
		d.hold(addr, s, look)
	}
	for _, addr := range before {
		if h := d.addrs[addr]; h != nil && len(h.holders) == 0 {
			delete(d.addrs, addr)
			delete(d.yielding, addr)
		}
	}
}

// announceable tells whether an address can be announced at all. Anybody may write anything into the status of a Service.
func announceable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.Is4In6()
}

func (d *decider) release(addr netip.Addr, s *served, look map[*served]struct{}) {
	h := d.addrs[addr]
	if h == nil {
		return
	}
	delete(h.holders, s.key)
	h.crowd = nil
	h.addTo(look)
}

func (d *decider) hold(addr netip.Addr, s *served, look map[*served]struct{}) {
	h := d.addrs[addr]
	if h == nil {
		// What exists at the start may have been announced by any node.
		h = &held{addr: addr, holders: map[types.NamespacedName]*served{}, known: !d.settled}
		d.addrs[addr] = h
	}
	h.holders[s.key] = s
	h.crowd = nil
	h.addTo(look)
}

// settle brings Services to what they need. Answers for addresses that were won come first, and among these the ones for
// addresses of nodes that aren't heard any more: nobody else answers for them.
func (d *decider) settle(look map[*served]struct{}, now time.Time) error {
	order := d.order(look)
	failed := map[*served]error{}
	for _, s := range order {
		d.decide(s, now)
		if won := d.won(s); won != nil && len(s.applied.Spread) > 0 {
			failed[s] = d.apply(s, announce.Service{Addresses: won, Spread: d.stillSpread(s)})
		}
	}
	var errs []error
	for _, s := range order {
		if failed[s] == nil {
			failed[s] = d.apply(s, announce.Service{Addresses: d.wanted(s), Spread: d.spread(s)})
		}
		d.concluded(s, failed[s], now)
		if failed[s] != nil {
			errs = append(errs, failed[s])
		}
	}
	return few(errs)
}

// few joins the first of many errors.
func few(errs []error) error {
	const most = 3
	if more := len(errs) - most; more > 0 {
		return fmt.Errorf("%w; and %d more Services", errors.Join(errs[:most]...), more)
	}
	return errors.Join(errs...)
}

// order sorts Services: first those of nodes that aren't heard any more, and by name.
func (d *decider) order(look map[*served]struct{}) []*served {
	urgent := func(s *served) bool {
		for _, winner := range s.winners {
			if winner != "" && !d.scene.alive[winner] {
				return true
			}
		}
		return false
	}
	var first, then []*served
	for s := range look {
		if urgent(s) {
			first = append(first, s)
		} else {
			then = append(then, s)
		}
	}
	byKey := func(a, b *served) int { return compareKeys(a.key, b.key) }
	slices.SortFunc(first, byKey)
	slices.SortFunc(then, byKey)
	return append(first, then...)
}

// apply brings a Service to the uplinks, if that changes anything.
func (d *decider) apply(s *served, want announce.Service) error {
	if !s.unsure && sameAtUplinks(s.applied, want) {
		return nil
	}
	if err := d.uplinks.apply(s.key.String(), want); err != nil {
		s.unsure = true
		return fmt.Errorf("service %s: %w", s.key, err)
	}
	s.applied, s.unsure = want, false
	return nil
}

// concluded notes what came of a decision, and tells of it.
func (d *decider) concluded(s *served, err error, now time.Time) {
	if err != nil {
		d.failed[s] = struct{}{}
		return
	}
	delete(d.failed, s)
	if s.service == nil {
		d.forget(s)
		return
	}
	for i := range s.outcomes {
		v := &s.outcomes[i]
		if h := d.addrs[v.addr]; h != nil && v.winner != "" {
			h.known = true
		}
	}
	d.tell(s, now)
	d.report(s)
	for i := range s.outcomes {
		delete(d.uplinks.answered, s.outcomes[i].addr)
	}
}

// forget removes a Service that is gone.
func (d *decider) forget(s *served) {
	if d.services[s.key] == s {
		delete(d.services, s.key)
	}
	delete(d.silent, s)
	s.announcing = false
	d.report(s)
}
