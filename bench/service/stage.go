package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"minato/bench/lab"
)

// targets is how many Services are measured. A rule's place among all rules
// matters to a proxy that goes through them one by one; several Services stand
// for an average place.
const targets = 8

// fillerEndpoints are the endpoints of each Service that is only there to be many.
const fillerEndpoints = 2

// stage is everything that runs while sizes are measured.
type stage struct {
	options
	api      *lab.API
	dir      string
	worlds   []*world
	variants []*variant
	targets  []*lab.Service
	relays   []func()
	probes   int
}

// world is one with a proxy or without.
type world struct {
	*lab.World
	proxy           string // empty for none
	process         *lab.Process
	inside, outside *lab.Client
	// late says that its proxy did not keep up with the number of Services.
	late bool
}

// variant is a way to the server.
type variant struct {
	name   string
	world  *world
	client *lab.Client
	to     []netip.AddrPort
}

// processor is the one that both sides share. With one for each, most of what a
// connection takes is waking a processor up that sleeps, the more so in a virtual
// machine, and whether it sleeps is chance. So what is left is the work to do.
const processor = 0

func newStage(ctx context.Context, o options) (*stage, error) {
	s := &stage{options: o}
	systems := map[string]lab.System{"minato": lab.Minato(o.Minato)}
	names := []string{"bare", "minato"}
	for _, mode := range o.Modes {
		names = append(names, mode)
		systems[mode] = lab.KubeProxy(o.KubeProxy, mode)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "bench-service-"); err != nil {
		return nil, err
	}
	lab.Progress("starting an API server and %d worlds", len(names))
	if s.api, err = lab.StartAPI(ctx, s.dir, names[1:]...); err != nil {
		return s, err
	}
	if err := s.makeTargets(ctx); err != nil {
		return s, err
	}
	for _, name := range names {
		if err := s.addWorld(ctx, name, systems); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *stage) makeTargets(ctx context.Context) error {
	for i := range targets {
		t := &lab.Service{
			Namespace: "default", Name: fmt.Sprintf("target-%d", i), IP: netip.AddrFrom4([4]byte{10, 96, 5, byte(1 + i)}),
			NodePort: int32(30080 + i), Balancer: netip.AddrFrom4([4]byte{198, 18, 0, byte(1 + i)}),
			Endpoints: []netip.AddrPort{netip.AddrPortFrom(lab.ServerIP, lab.ServerPort)},
		}
		if err := s.api.Create(ctx, t); err != nil {
			return err
		}
		s.targets = append(s.targets, t)
	}
	return nil
}

func (s *stage) addWorld(ctx context.Context, name string, systems map[string]lab.System) error {
	inner, err := lab.NewWorld(name)
	if err != nil {
		return err
	}
	w := &world{World: inner}
	s.worlds = append(s.worlds, w)
	if err := w.Serve(w.Server, s.targets[0].Endpoints[0], 1, processor); err != nil {
		return err
	}
	if w.inside, err = w.InsideClient(processor); err != nil {
		return err
	}
	if w.outside, err = w.OutsideClient(processor); err != nil {
		return err
	}
	s.addVariants(w)
	system, ok := systems[name]
	if !ok {
		return nil
	}
	w.proxy = system.Name
	stop, err := s.api.Relay(ctx, w.World)
	if err != nil {
		return err
	}
	s.relays = append(s.relays, stop)
	w.process, err = system.Start(ctx, w.World, s.api)
	return err
}

func (s *stage) addVariants(w *world) {
	var cluster, node, balancer []netip.AddrPort
	for _, t := range s.targets {
		cluster = append(cluster, netip.AddrPortFrom(t.IP, lab.Port))
		node = append(node, netip.AddrPortFrom(lab.NodeIP, uint16(t.NodePort)))
		balancer = append(balancer, netip.AddrPortFrom(t.Balancer, lab.Port))
	}
	add := func(name string, c *lab.Client, to []netip.AddrPort) {
		s.variants = append(s.variants, &variant{name: name, world: w, client: c, to: to})
	}
	direct := s.targets[0].Endpoints
	add(podDirect, w.inside, direct)
	add(outsideDirect, w.outside, direct)
	if w.Name == "bare" {
		return
	}
	if w.Name == "minato" {
		add(control, w.inside, direct)
		add(outsideControl, w.outside, direct)
	}
	add(clusterIP, w.inside, cluster)
	add(nodePort, w.outside, node)
	add(loadBalancer, w.outside, balancer)
}

// grow adds Services until there are n and waits until every proxy has them.
func (s *stage) grow(ctx context.Context, n int) error {
	// Meanwhile the proxies would take most of the processors for what is out of date at once.
	if err := s.each((*lab.Process).Pause); err != nil {
		return err
	}
	began := time.Now()
	err := s.api.Fill(ctx, n-targets, fillerEndpoints)
	if err := errors.Join(err, s.each((*lab.Process).Resume)); err != nil {
		return err
	}
	lab.Progress("%d Services are in the API after %.1f s", n, time.Since(began).Seconds())
	// A Service that came last is served once all before it were heard of.
	probe := &lab.Service{
		Namespace: "default", Name: fmt.Sprintf("probe-%d", s.probes), IP: netip.AddrFrom4([4]byte{10, 96, 6, byte(1 + s.probes)}),
		Endpoints: s.targets[0].Endpoints,
	}
	s.probes++
	if err := s.api.Create(ctx, probe); err != nil {
		return err
	}
	began = time.Now()
	var g errgroup.Group
	for _, w := range s.worlds {
		if w.proxy == "" || w.late {
			continue
		}
		g.Go(func() error {
			to := []netip.AddrPort{netip.AddrPortFrom(probe.IP, lab.Port)}
			for _, v := range s.variants {
				if v.world == w && v.client == w.inside {
					to = append(to, v.to...)
				}
			}
			_, err := w.inside.Await(ctx, s.patience, to...)
			if w.late = errors.Is(err, lab.ErrLate); w.late {
				lab.Progress("%s does not serve %d Services and is left out: %v", w.proxy, n, err)
				w.process.Stop() // or its work would disturb the others
				w.process = nil
				return nil
			}
			if err != nil {
				return err
			}
			lab.Progress("%s serves them %.1f s later", w.proxy, time.Since(began).Seconds())
			return nil
		})
	}
	return g.Wait()
}

// each calls fn for every proxy.
func (s *stage) each(fn func(*lab.Process) error) error {
	var failures []error
	for _, w := range s.worlds {
		if w.process != nil {
			failures = append(failures, fn(w.process))
		}
	}
	return errors.Join(failures...)
}

// kinds are measured for each variant.
var kinds = []lab.Kind{lab.Connections, lab.Requests, lab.Bulk}

// measure goes through all variants in turn, in another order each round.
func (s *stage) measure(ctx context.Context, n int) (*size, error) {
	out := &size{Services: n, samples: map[string]*samples{}}
	for _, w := range s.worlds {
		if w.late {
			out.Late = append(out.Late, w.proxy)
		}
	}
	order := rand.New(rand.NewPCG(1, uint64(n)))
	began := time.Now()
	for round := range s.rounds + 1 { // the first one fills caches
		for _, kind := range kinds {
			for _, i := range order.Perm(len(s.variants)) {
				v := s.variants[i]
				if v.world.late {
					continue
				}
				r, err := v.client.Do(ctx, lab.Order{Kind: kind, To: v.to, For: s.slice})
				if err != nil {
					return nil, errors.Join(err, ctx.Err())
				}
				if round > 0 {
					out.add(v.world.Name, v.name, kind, r)
				}
			}
		}
	}
	lab.Progress("%d Services: %d rounds in %.0f s", n, s.rounds, time.Since(began).Seconds())
	out.compare()
	return out, nil
}

func (s *stage) close() error {
	var failures []error
	for _, stop := range s.relays {
		stop()
	}
	for _, w := range s.worlds {
		failures = append(failures, w.Close())
	}
	if s.api != nil {
		s.api.Close()
	}
	return errors.Join(append(failures, lab.Clean(context.Background()), os.RemoveAll(s.dir))...)
}
