package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

// loop is one run of an Announcer: one goroutine that acts, and others that read.
type loop struct {
	*Announcer
	prober *prober
	events chan event
	links  chan netlink.LinkUpdate
	// start is that of Run, and renewed is when the expiry was set last.
	start, renewed time.Time
	// roundAt is the start of the last round of probes.
	roundAt time.Time
	// strangers are claims that are not told yet, the first one first.
	strangers []stranger
	// shown is what OnView was called with last.
	shown View
	began bool
}

// awayAtMost is how long after a start it counts that the node was away: by then the others have heard it.
const awayAtMost = 3 * holdDown

// renewals is how often an expiry is renewed before it is over.
const renewals = 4

// Run sends the gratuitous packets of addresses, probes the other nodes and follows the uplinks, until ctx ends. The
// Announcer must be open all the time.
func (a *Announcer) Run(ctx context.Context) error {
	l := &loop{Announcer: a, start: time.Now(), events: make(chan event, 64), links: make(chan netlink.LinkUpdate, 8)}
	told, err := a.readerOfEvents()
	if err != nil {
		return err
	}
	defer told.close()
	if l.prober, err = openProber(ctx, a.cfg.Netns, a.cfg.ProbePort, a.cfg.address(false), a.cfg.address(true)); err != nil {
		return fmt.Errorf("announcing of node %s: %w", a.cfg.NodeName, err)
	}
	defer l.prober.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.act(ctx) })
	g.Go(func() error { return readEvents(ctx, told, l.events) })
	g.Go(func() error { return a.followLinks(ctx, l.links) })
	g.Go(func() error { // the readers wait for no context
		<-ctx.Done()
		l.prober.close()
		return told.Close()
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("announcing of node %s: %w", a.cfg.NodeName, err)
	}
	return nil
}

// act does everything that is to be done, in one goroutine. While there is nothing to announce no timer runs.
func (l *loop) act(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	ticker := time.NewTicker(time.Hour)
	ticker.Stop()
	defer ticker.Stop()
	active := false
	for {
		var conflict *Conflict
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-timer.C:
		case <-ticker.C:
			if err := l.round(); err != nil {
				return err
			}
		case e := <-l.events:
			var err error
			if conflict, err = l.told(e); err != nil {
				return err
			}
		case u := <-l.links:
			if err := l.linkChanged(u); err != nil {
				return err
			}
		}
		renewed, err := l.renew()
		if err != nil {
			return err
		}
		is, err := l.refresh()
		if err != nil {
			return err
		}
		if is != active {
			active = is
			if ticker.Stop(); active {
				ticker.Reset(probeInterval)
				if err := l.round(); err != nil {
					return err
				}
			}
		}
		if conflict == nil {
			conflict = l.recognize()
		}
		wait, err := l.send()
		if err != nil {
			return err
		}
		timer.Reset(min(wait, renewed))
		l.show(conflict)
	}
}

// renew has the programs go on, and tells when to do it again.
func (l *loop) renew() (again time.Duration, err error) {
	each := l.cfg.Expiry / renewals
	if each == 0 {
		return time.Hour, nil
	}
	if since := time.Since(l.renewed); since < each && !l.renewed.IsZero() {
		return each - since, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.collection == nil {
		return 0, errClosed
	}
	now, err := sinceBoot()
	if err != nil {
		return 0, err
	}
	l.renewed = time.Now()
	l.setExpiry(now)
	return each, l.writeSettings()
}

// refresh starts and ends the probing, and the silence of a node that hears nobody. It tells whether there is any address of
// a Service: a node that announces none may have to, when another one is gone.
func (l *loop) refresh() (active bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.collection == nil {
		return false, errClosed
	}
	active = len(l.addrs) > 0
	if time.Since(l.start) > awayAtMost {
		l.liveness.away = false
	}
	l.liveness.activate(active)
	before := l.settings.Flags
	switch {
	case l.liveness.silent():
		l.settings.Flags |= configSilent
	case !active && !l.liveness.away || l.liveness.self.known:
		l.settings.Flags &^= configSilent
	}
	if l.settings.Flags == before {
		return active, nil
	}
	if l.liveness.silent() {
		l.log.Warn("No other node and no gateway is heard; addresses of load balancers are not answered here until one is")
	} else {
		l.log.Info("Addresses of load balancers are answered here again")
		l.announceAll()
	}
	return active, l.writeSettings()
}

// round ends a round of probes and sends the next one. One that this process has begun late gets its time: a ticker makes up
// for a late tick by an early one.
func (l *loop) round() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.collection == nil || now.Sub(l.roundAt) < probeInterval/2 {
		return nil
	}
	l.roundAt = now
	replies, err := l.prober.received()
	if err != nil {
		return err
	}
	for _, r := range replies {
		if l.prober.known(r) {
			l.liveness.heard(l.probed[r.from], now)
		}
	}
	ask := l.liveness.next(now)
	for to := range l.probed {
		l.prober.send(to)
	}
	l.prober.forget(l.probed)
	if err := l.watchGateways(ask); err != nil {
		l.log.Warn("Gateways can't be watched", "error", err)
	}
	if ask {
		l.askGateways()
	}
	return nil
}

// askGateways asks the gateways for their hardware addresses.
func (a *Announcer) askGateways() {
	for _, gw := range a.cfg.Gateways {
		self := a.cfg.address(gw.Is6())
		if !self.IsValid() {
			continue
		}
		for _, u := range a.uplinks {
			if u.carrier {
				a.transmit(u, call(gw, self, u.mac))
			}
		}
	}
}

// watchGateways has the programs tell when a gateway is heard, or not.
func (a *Announcer) watchGateways(on bool) error {
	if a.watching == on {
		return nil
	}
	a.watching = on
	var errs []error
	for _, gw := range a.cfg.Gateways {
		key := addressOf(gw)
		e := a.addresses.have[key]
		if e.Flags = e.Flags&^addressGateway | a.base(gw); e.Flags == 0 {
			errs = append(errs, a.addresses.remove(key))
		} else {
			errs = append(errs, a.addresses.set(key, e))
		}
	}
	return errors.Join(errs...)
}

// send sends what is due, and tells when there is more.
func (l *loop) send() (wait time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.collection == nil {
		return 0, errClosed
	}
	now := time.Now()
	for {
		addr, step, ok := l.schedule.due(now)
		if !ok {
			break
		}
		if step == tryStep || step == freeStep {
			if err := l.free(addr, step); err != nil {
				return 0, err
			}
			continue
		}
		if l.settings.Flags&configSilent == 0 {
			l.sendFor(addr, step)
		}
	}
	wait = time.Hour
	if at, ok := l.schedule.next(); ok {
		wait = time.Until(at)
	}
	if len(l.strangers) > 0 {
		wait = min(wait, time.Until(l.strangers[0].at))
	}
	return max(wait, 0), nil
}

// sendFor sends the packets of one step at the uplinks of an address.
func (a *Announcer) sendFor(addr netip.Addr, step step) {
	s := a.addrs[addr]
	if s == nil {
		return
	}
	for _, u := range a.uplinks {
		if s.links&(1<<u.number) == 0 || !u.carrier {
			continue
		}
		if step == probeStep {
			a.transmit(u, question(addr, u.mac))
			continue
		}
		for _, frame := range announcements(addr, u.mac) {
			a.transmit(u, frame)
		}
		s.sent++
	}
}

// transmit sends a frame. It is sent again later anyway.
func (a *Announcer) transmit(u *uplink, frame []byte) {
	if err := a.wire.send(u.index, frame); err != nil {
		a.log.Debug("A frame can't be sent", "interface", u.name, "error", err)
	}
}

// show calls the callbacks.
func (l *loop) show(c *Conflict) {
	if c != nil && l.cfg.OnConflict != nil {
		l.cfg.OnConflict(*c)
	}
	v, changed := l.changedView()
	if !changed || l.began && v.equal(l.shown) {
		return
	}
	l.shown, l.began = v, true
	if l.cfg.OnView != nil {
		l.cfg.OnView(v)
	}
}

// changedView returns the view, if it may have changed since the last call or if this is the first one.
func (l *loop) changedView() (v View, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.collection == nil || l.began && !l.liveness.changed {
		return l.shown, false
	}
	l.liveness.changed = false
	return l.liveness.view(), true
}

// View returns who is alive.
func (a *Announcer) View() View {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return View{Self: true, Peers: map[string]bool{}}
	}
	return a.liveness.view()
}
