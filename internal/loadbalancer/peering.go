package loadbalancer

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/bgp"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
	"minato/internal/loadbalancer/elect"
)

// peering has a node's BGP peers told of the addresses of Services. It works beside the decider, which never waits for it.
type peering struct {
	node      string
	addresses []netip.Addr
	speaker   bgp.Speaker
	// look is the decider's snapshot.
	look func() (snapshot, bool)
	// about names an object of the configuration in events.
	about   func(config.Object) (corev1.ObjectReference, error)
	secrets *secrets
	events  Events
	reports reporter
	log     *slog.Logger
	wake    chan struct{}

	// applying guards withdrawn, and has one State after the other applied.
	applying  sync.Mutex
	withdrawn bool

	// mu guards told for announced; run alone changes it.
	mu   sync.Mutex
	told map[types.NamespacedName]*toldRoutes

	// What follows belongs to run:
	applied *bgp.State // nil before the first one
	scene   *scene     // which the routes of made are from
	made    map[types.NamespacedName]*madeRoutes
	// problems are those of which an event has told.
	problems map[string]bool
	peers    []config.Peer
}

// madeRoutes are the routes of a Service in one of its states.
type madeRoutes struct {
	number uint64
	routes []elect.Route
}

const (
	// peeringPause is between two States, so that many changes at once are told together.
	peeringPause = 20 * time.Millisecond
	// applyTimeout bounds how long a speaker that can't act now is waited for. It acts on the last State when it can.
	applyTimeout = time.Second
)

func newPeering(cfg NodeConfig, look func() (snapshot, bool), reports reporter) *peering {
	p := &peering{
		node: cfg.Name, addresses: cfg.Addresses, speaker: cfg.Speaker, look: look, about: cfg.Settings.Reference,
		events: cfg.Events, reports: reports, log: cfg.Logger, wake: make(chan struct{}, 1),
	}
	read := cfg.Passwords
	if read == nil {
		read = func(context.Context, string) (string, bool, error) { return "", false, nil }
	}
	p.secrets = newSecrets(read, cfg.Logger, p.changed)
	return p
}

// changed notes that the peers may have to be told something else.
func (p *peering) changed() { poke(p.wake) }

// run tells the peers until ctx ends. They keep the routes then: the speaker goes on with the last State.
func (p *peering) run(ctx context.Context) error {
	p.applied, p.scene, p.peers = nil, nil, nil
	p.made, p.problems = map[types.NamespacedName]*madeRoutes{}, map[string]bool{}
	p.mu.Lock()
	p.told = map[types.NamespacedName]*toldRoutes{}
	p.mu.Unlock()
	p.reports.begin(metallb.KindServiceBGPStatus, p.node)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		p.secrets.run(ctx)
		return nil
	})
	g.Go(func() error {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-p.wake:
				p.round(ctx)
			}
			pause(ctx, peeringPause)
		}
		return nil
	})
	return g.Wait()
}

// round brings the speaker to what is to be told now. The first State has to be complete, or routers would drop routes that
// an earlier process has told them.
func (p *peering) round(ctx context.Context) {
	s, known := p.look()
	if !known {
		return
	}
	p.wantPasswords(s.scene.cfg.Peers)
	passwords, complete := p.secrets.passwords()
	if !complete && p.applied == nil {
		return
	}
	state, problems := p.plan(s, passwords)
	first := p.applied == nil
	if first || !reflect.DeepEqual(*p.applied, state) {
		before := p.advertised(first)
		if !p.apply(ctx, state) {
			return
		}
		p.applied = &state
		p.tell(s, state, before)
	} else {
		p.tell(s, state, nil)
	}
	if first {
		p.reports.settled(metallb.KindServiceBGPStatus, p.node)
	}
	if complete { // a password that is not read yet is not missing
		p.complain(problems)
	}
}

// wantPasswords has the Secrets read that peers name, and read again when peers have changed.
func (p *peering) wantPasswords(peers []config.Peer) {
	var names []string
	for i := range peers {
		if name := peers[i].PasswordSecret; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	again := !reflect.DeepEqual(peers, p.peers)
	p.peers = peers
	p.secrets.want(names, again)
}

// plan makes the State. A node that the cluster doesn't have tells nothing.
func (p *peering) plan(s snapshot, passwords map[string]string) (bgp.State, []config.Problem) {
	self := s.scene.node(p.node)
	if self == nil || len(s.scene.cfg.Peers) == 0 {
		clear(p.made)
		return bgp.State{}, nil
	}
	if p.scene != s.scene {
		p.scene = s.scene
		clear(p.made)
	}
	in := bgp.Input{
		Node: p.node, Labels: self.Labels, Addresses: p.addresses, Peers: s.scene.cfg.Peers, Profiles: s.scene.cfg.BFDProfiles,
		Passwords: passwords, Advertisements: s.scene.cfg.BGP,
	}
	here := map[types.NamespacedName]bool{}
	for i := range s.services {
		of := &s.services[i]
		here[of.elect.Key] = true
		made := p.made[of.elect.Key]
		if made == nil || made.number != of.number {
			made = &madeRoutes{number: of.number, routes: s.scene.routes(of.elect, *self)}
			p.made[of.elect.Key] = made
		}
		in.Routes = append(in.Routes, made.routes...)
	}
	maps.DeleteFunc(p.made, func(key types.NamespacedName, _ *madeRoutes) bool { return !here[key] })
	return bgp.Plan(in)
}

// apply makes a State the speaker's, unless everything was withdrawn for good.
func (p *peering) apply(ctx context.Context, s bgp.State) bool {
	p.applying.Lock()
	defer p.applying.Unlock()
	if p.withdrawn {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	err := p.speaker.Apply(ctx, s)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		p.log.Error("BGP peers are not told what has changed", "node", p.node, "error", err)
		return false
	}
	return true
}

// withdraw tells the peers that all routes are gone, and has nothing told afterwards.
func (p *peering) withdraw(ctx context.Context) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	p.withdrawn = true
	return p.speaker.Apply(ctx, bgp.State{})
}

// advertised are the prefixes that peers were told before the first State, by an earlier process.
func (p *peering) advertised(first bool) map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{}
	if !first {
		return out
	}
	for _, s := range p.speaker.Sessions() {
		for _, prefix := range s.Advertised {
			out[prefix] = true
		}
	}
	return out
}
