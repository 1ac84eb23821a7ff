package ingress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"minato/internal/ingress/filter"
	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
)

// NodeConfig is what a Node needs.
type NodeConfig struct {
	Logger *slog.Logger
	// Registry, if not nil, gets the metrics; the Node's own sockets serve them in any case.
	Registry *prometheus.Registry
}

// Node is one node's ingress: the proxy, and the loop that makes what it serves from the objects of the cluster.
type Node struct {
	log     *slog.Logger
	metrics *prometheus.Registry
	wake    chan struct{}
	changed chan struct{}
	drained chan struct{} // closed when Drain was called
	drain   sync.Once
	names   *names
	health  *health

	mu      sync.Mutex
	facts   *Facts // nil before Tell
	sockets *sockets
	// streamFiles are the sockets of streams; the files are somebody else's.
	streamFiles map[Socket]*os.File
	streamPorts []StreamPort
	pending     map[Key]Change
	done        []func() // of what is pending
	synced      bool
	told        bool // there is something new of the above
	ready       atomic.Bool
	ran         bool

	serving sync.WaitGroup // of streams

	found struct { // what the loop has found
		sync.Mutex
		all   map[subject]Findings
		fresh map[subject]struct{}
		// expiry is when the certificates of hosts end.
		expiry map[string]time.Time
	}
}

var _ serving = (*Node)(nil)

// NewNode returns a Node that Run starts.
func NewNode(c NodeConfig) (*Node, error) {
	if c.Logger == nil {
		return nil, errors.New("ingress of a node: a logger is missing")
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	n := &Node{
		log: c.Logger, metrics: c.Registry, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), drained: make(chan struct{}),
		pending: map[Key]Change{},
	}
	n.names = newNames(n.log, func() { poke(n.wake) })
	n.health = newHealth(n)
	n.found.all, n.found.fresh = map[subject]Findings{}, map[subject]struct{}{}
	return n, nil
}

// Tell tells the Node the facts, before all else and when they have changed.
func (n *Node) Tell(f Facts) {
	n.mu.Lock()
	n.facts, n.told = &f, true
	n.mu.Unlock()
	poke(n.wake)
}

// sockets are the listeners of a Node.
type sockets struct {
	proxied []proxy.Listener
	status  []net.Listener
	access  io.Writer // nil without an access log
}

func (s *sockets) close() {
	for _, l := range s.proxied {
		l.Close()
	}
	for _, l := range s.status {
		l.Close()
	}
}

// Serve gives the Node the sockets that it is to serve. The files stay the caller's.
func (n *Node) Serve(list socketList, files []*os.File) error {
	n.serveStreams(list, files)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets != nil || len(files) == 0 {
		return nil // the other sockets of a node do not change while its proxy lives
	}
	s := &sockets{}
	for i, k := range list.Sockets {
		if k.Name == socketAccessLog {
			s.access = &accessLog{files[i]}
			continue
		}
		if k.Name != socketHTTP && k.Name != socketHTTPS && k.Name != socketStatus {
			continue
		}
		l, err := net.FileListener(files[i])
		if err != nil {
			s.close()
			return fmt.Errorf("serve the socket %s of the ingress at %s: %w", k.Name, k.Address, err)
		}
		switch k.Name {
		case socketHTTP:
			s.proxied = append(s.proxied, proxy.Listener{Listener: l, Port: 80})
		case socketHTTPS:
			s.proxied = append(s.proxied, proxy.Listener{Listener: l, TLS: true, Port: 443})
		case socketStatus:
			s.status = append(s.status, l)
		}
	}
	n.sockets = s
	return nil
}

// serveStreams gives the Node the sockets of streams.
func (n *Node) serveStreams(list socketList, files []*os.File) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.streamFiles, n.told = map[Socket]*os.File{}, true
	for i, k := range list.Sockets {
		if _, _, is := parseStreamName(k.Name); is {
			n.streamFiles[k] = files[i]
		}
	}
	poke(n.wake)
}

// use gives the Node the listeners that it is to serve.
func (n *Node) use(s *sockets) {
	n.mu.Lock()
	n.sockets, n.told = s, true
	n.mu.Unlock()
	poke(n.wake)
}

// Apply gives the Node what has changed. What came before the loop has looked at it is looked at together.
func (n *Node) Apply(batch []Change, synced bool) { n.ApplyThen(batch, synced, nil) }

// ApplyThen is Apply that calls done, if not nil, once that is served.
func (n *Node) ApplyThen(batch []Change, synced bool, done func()) {
	n.mu.Lock()
	for _, c := range batch {
		n.pending[c.Key] = c
	}
	n.synced, n.told = n.synced || synced, true
	if done != nil {
		n.done = append(n.done, done)
	}
	n.mu.Unlock()
	poke(n.wake)
}

// Drain has Run end after everything that is under way is done.
func (n *Node) Drain() {
	n.drain.Do(func() {
		n.ready.Store(false)
		poke(n.changed)
		close(n.drained)
	})
}

// Changed holds a token after what State or Findings return has changed.
func (n *Node) Changed() <-chan struct{} { return n.changed }

// State says what the Node is like.
func (n *Node) State() State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return State{Ready: n.ready.Load(), Streams: n.streamPorts}
}

// setStreams notes the streams that the settings ask for.
func (n *Node) setStreams(all []table.Stream) {
	ports := make([]StreamPort, 0, len(all))
	for _, s := range all {
		ports = append(ports, StreamPort{Port: s.Port, UDP: s.UDP})
	}
	n.mu.Lock()
	same := slices.EqualFunc(n.streamPorts, ports, func(a, b StreamPort) bool { return a.Port == b.Port && a.UDP == b.UDP })
	n.streamPorts = ports
	n.mu.Unlock()
	if !same {
		poke(n.changed)
	}
}

// Findings returns what was found about Ingresses since it was called last, or all there is.
func (n *Node) Findings(all bool) []Findings {
	n.found.Lock()
	defer n.found.Unlock()
	var out []Findings
	if all {
		for _, f := range n.found.all {
			out = append(out, f)
		}
	} else {
		for key := range n.found.fresh {
			f, ok := n.found.all[key]
			if !ok {
				f.Kind, f.Ingress = key.kind, key.name
			}
			out = append(out, f)
		}
	}
	clear(n.found.fresh)
	return out
}

// Run serves until ctx ends, or Drain was called and everything that was under way is done.
func (n *Node) Run(ctx context.Context) error {
	n.mu.Lock()
	ran := n.ran
	n.ran = true
	n.mu.Unlock()
	if ran {
		return errors.New("ingress of a node: Run was called twice")
	}
	s, err := n.awaitSockets(ctx)
	if s == nil || err != nil {
		return err
	}
	defer s.close()
	parts, err := n.assemble(s)
	if err != nil {
		return err
	}
	server, l := parts.server, parts.loop
	defer n.serving.Wait()
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() error { return n.health.serve(ctx, s.status, parts.registry) })
	g.Go(func() error { return parts.filters.Run(ctx) })
	if parts.access != nil {
		g.Go(func() error { return parts.access.Run(ctx) })
	}
	g.Go(func() error { n.names.run(ctx); return nil })
	first := make(chan struct{})
	g.Go(func() error { l.run(ctx, first); return nil })
	g.Go(func() error {
		defer cancel()
		return n.serve(ctx, server, l, first)
	})
	return g.Wait()
}

// parts are what Run runs.
type parts struct {
	server   *proxy.Server
	filters  *filter.Filters
	metrics  *proxy.Metrics
	access   *proxy.AccessLog // nil without one
	registry *prometheus.Registry
	loop     *loop
}

// assemble puts the parts together.
func (n *Node) assemble(s *sockets) (*parts, error) {
	n.mu.Lock()
	facts := *n.facts
	n.mu.Unlock()
	p := &parts{
		metrics: proxy.NewMetrics(proxy.MetricsConfig{
			ControllerClass: cmp.Or(facts.Options.Classes.Minato, facts.Options.Classes.Nginx), ControllerNamespace: facts.Namespace, ControllerPod: facts.Pod, PerHost: facts.MetricsPerHost,
		}),
		registry: n.metrics,
	}
	observers := proxy.Observers{p.metrics}
	var err error
	if s.access != nil {
		if p.access, err = proxy.NewAccessLog(proxy.AccessLogConfig{Writer: s.access}); err != nil {
			return nil, fmt.Errorf("ingress of a node: %w", err)
		}
		observers = append(observers, p.access)
	}
	if p.server, err = proxy.New(proxy.Config{Logger: n.log, Listeners: s.proxied, Observer: observers}); err != nil {
		return nil, fmt.Errorf("ingress of a node: %w", err)
	}
	if p.filters, err = filter.New(filter.Config{Logger: n.log}); err != nil {
		return nil, fmt.Errorf("ingress of a node: %w", err)
	}
	p.server.SetHooks(p.filters.Hooks())
	certificate, err := makeDefaultCertificate(time.Now())
	if err != nil {
		return nil, err
	}
	p.server.SetDefaultCertificate(certificate)
	p.loop = newLoop(n, p.server, certificate)
	p.loop.metrics = p.metrics
	p.loop.streams = &streams{node: n, server: p.server, log: noStreamLog{}, running: map[runningStream]servedStream{}}
	if p.access != nil {
		p.loop.streams.log = p.access
	}
	if err := p.metrics.Bind(p.server); err != nil {
		return nil, fmt.Errorf("ingress of a node: %w", err)
	}
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), p.metrics, n.health} {
		if err := p.registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of the ingress: %w", err)
		}
	}
	return p, nil
}

// awaitSockets returns the sockets once there are some; nil if ctx or the Node's life has ended before.
func (n *Node) awaitSockets(ctx context.Context) (*sockets, error) {
	for {
		n.mu.Lock()
		s, told := n.sockets, n.facts != nil
		n.mu.Unlock()
		if s != nil && told {
			poke(n.wake)
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-n.drained:
			return nil, nil
		case <-n.wake:
		}
	}
}

// serve runs the proxy from the first table on, until ctx ends or it is drained.
func (n *Node) serve(ctx context.Context, server *proxy.Server, l *loop, first <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.drained:
		return nil
	case <-first:
	}
	n.ready.Store(true)
	poke(n.changed)
	ended := make(chan struct{})
	go func() {
		select {
		case <-ended:
		case <-n.drained:
			limit, cancel := context.WithTimeout(ctx, l.shutdownTimeout())
			defer cancel()
			if err := server.Shutdown(limit); err != nil {
				n.log.Info("Connections are cut, since they did not end in time", "error", err)
			}
		}
	}()
	defer close(ended)
	if err := server.Run(ctx); err != nil {
		return fmt.Errorf("ingress of a node: %w", err)
	}
	return nil
}

// take returns what has come since it was called last.
func (n *Node) take() (facts Facts, batch map[Key]Change, done []func(), synced, told bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	batch, n.pending = n.pending, map[Key]Change{}
	told, n.told = n.told, false
	done, n.done = n.done, nil
	if n.facts != nil {
		facts = *n.facts
	}
	return facts, batch, done, n.synced, told
}
