package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"minato/bench/lab"
)

// stage is everything that runs.
type stage struct {
	options
	dir       string
	peers     []*peer
	missing   []string
	versions  map[string]string
	helpers   []*process
	few, many map[string]*running
	all       []*workload
	samples   map[string]map[string][]sample // by workload and peer
	memory    map[string][]figureOfMemory
	large     map[string]time.Duration // until the many routes were served
}

// running is a process of a peer.
type running struct {
	*process
	site *site
}

func newStage(ctx context.Context, o options) (*stage, error) {
	for _, program := range []string{"wrk", "h2load"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, err
		}
	}
	s := &stage{
		options: o, few: map[string]*running{}, many: map[string]*running{}, samples: map[string]map[string][]sample{}, versions: map[string]string{},
		memory: map[string][]figureOfMemory{}, large: map[string]time.Duration{},
	}
	var err error
	if s.out, err = filepath.Abs(o.out); err != nil {
		return nil, err
	}
	if o.profile != "" {
		if s.profile, err = filepath.Abs(o.profile); err != nil {
			return nil, err
		}
	}
	if s.peers, s.missing, err = peers(o); err != nil {
		return nil, err
	}
	for _, w := range workloads() {
		if o.workloads.MatchString(w.name) {
			s.all = append(s.all, w)
		}
	}
	if s.dir, err = arrange(); err != nil {
		return nil, err
	}
	if err := writeCertificates(s.dir); err != nil {
		return s, err
	}
	for _, h := range [][]string{{"backend", backendAddress}, {"grpc", grpcAddress}} {
		p, err := start(h[0], s.dir, loadCPU, append([]string{"/proc/self/exe"}, h...)...)
		if err != nil {
			return s, err
		}
		s.helpers = append(s.helpers, p)
		if err := awaitPort(ctx, p, h[1]); err != nil {
			return s, err
		}
	}
	return s, s.startPeers(ctx)
}

// startPeers starts each peer twice and sees that it does what is asked of it.
func (s *stage) startPeers(ctx context.Context) error {
	for i, p := range s.peers {
		s.versions[p.name] = p.version()
		for _, many := range []bool{false, true} {
			name, at, port := p.name, s.few, 8000+100*i
			if many {
				name, at, port = p.name+"-many", s.many, port+50
			}
			site, err := p.newSite(filepath.Join(s.dir, name), s.dir, port, many)
			if err != nil {
				return err
			}
			if s.accessLog {
				site.Logs = os.DevNull
			}
			if !many {
				site.Profile = s.profile
			}
			if err := p.write(site); err != nil {
				return err
			}
			began := time.Now()
			proc, err := start(name, site.Dir, proxyCPU, append([]string{p.program}, p.args(site)...)...)
			if err != nil {
				return err
			}
			at[p.name] = &running{process: proc, site: site}
			if err := await(ctx, proc, site); err != nil {
				return fmt.Errorf("%w; %s says: %s", err, name, proc.said())
			}
			took := time.Since(began)
			if many {
				s.large[p.name] = took
			}
			lab.Progress("%s serves after %.2f s", name, took.Seconds())
		}
	}
	return nil
}

// await waits until a proxy does what is asked of it.
func await(ctx context.Context, p *process, s *site) error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := check(ctx, s)
		switch {
		case err == nil:
			return nil
		case p.ended():
			return fmt.Errorf("%s has ended", p.name)
		case time.Now().After(deadline), ctx.Err() != nil:
			return fmt.Errorf("%s does not serve: %w", p.name, err)
		}
		var refused *net.OpError
		if !errors.As(err, &refused) {
			lab.Progress("%s: %v", p.name, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// awaitPort waits until a process listens.
func awaitPort(ctx context.Context, p *process, address string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		if p.ended() || time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s does not listen: %w: %s", p.name, err, p.said())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// measure loads all peers in turn, in another order each round.
func (s *stage) measure(ctx context.Context) error {
	g := &generator{dir: s.dir, slice: s.slice}
	order := rand.New(rand.NewPCG(1, 1))
	began := time.Now()
	for round := range s.rounds {
		for _, w := range s.all {
			for _, i := range order.Perm(len(s.peers)) {
				p := s.peers[i]
				one, err := s.load(ctx, g, w, p)
				if err != nil {
					return fmt.Errorf("%s by %s: %w", w.name, p.name, err)
				}
				if s.samples[w.name] == nil {
					s.samples[w.name] = map[string][]sample{}
				}
				s.samples[w.name][p.name] = append(s.samples[w.name][p.name], one)
			}
		}
		lab.Progress("round %d of %d is done after %.0f s", round+1, s.rounds, time.Since(began).Seconds())
	}
	return s.weigh()
}

func (s *stage) load(ctx context.Context, g *generator, w *workload, p *peer) (sample, error) {
	r := s.few[p.name]
	if w.many {
		r = s.many[p.name]
	}
	before, err := r.usage()
	if err != nil {
		return sample{}, err
	}
	one, err := w.load(ctx, g, r.site)
	if err != nil {
		return one, err
	}
	after, err := r.usage()
	if err != nil {
		return one, err
	}
	if r.ended() {
		return one, fmt.Errorf("the proxy has ended: %s", r.said())
	}
	one.CPU = (after.cpu - before.cpu).Seconds()
	return one, nil
}

// weigh notes the memory of every process, after all loads.
func (s *stage) weigh() error {
	for _, p := range s.peers {
		for _, r := range []*running{s.few[p.name], s.many[p.name]} {
			u, err := r.usage()
			if err != nil {
				return err
			}
			s.memory[p.name] = append(s.memory[p.name], figureOfMemory{RSS: u.rss, Anonymous: u.anon})
		}
	}
	return nil
}

func (s *stage) close() error {
	for _, m := range []map[string]*running{s.few, s.many} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			m[name].stop()
		}
	}
	for _, p := range s.helpers {
		p.stop()
	}
	return nil
}
