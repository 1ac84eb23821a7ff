package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/host"
	"minato/internal/service"
	"minato/internal/service/packed"
	"minato/internal/supervise"
)

// component is how the proxy calls itself to the API server.
const component = "minato-proxy"

// Run serves the node's Services until ctx ends. What it made stays and goes on forwarding; Run with Cleanup takes it
// away.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	if cfg.Cleanup {
		return cleanup(cfg)
	}
	log := foreign.NewLogger(cfg.Verbosity)
	connection, err := cfg.Connection.Config(component, "the cluster whose Services are served")
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(connection)
	if err != nil {
		return err
	}
	where, err := findPlaces(&cfg)
	if err != nil {
		return err
	}
	if rules := host.KubeProxyRules(); len(rules) > 0 {
		log.Warn("kube-proxy has rules on this node, which translate packets a second time; when kube-proxy no longer runs, remove them with `kube-proxy --cleanup`", "found", rules)
	}
	p := &proxy{cfg: cfg, log: log, client: client, places: where, objects: packed.New(client)}
	if p.facts, err = learnFacts(ctx, client, &cfg, log); err != nil {
		return err
	}
	return p.run(ctx)
}

// proxy serves the Services of one node.
type proxy struct {
	cfg    Config
	log    *slog.Logger
	client kubernetes.Interface
	places places
	facts  facts

	node    *service.Node
	objects *packed.Store
	nodes   cache.Indexer
	events  events.EventBroadcaster
}

// run makes the data plane, or takes over what an earlier process left of it, and keeps it in step.
func (p *proxy) run(ctx context.Context) (err error) {
	open, ports, err := nodePortsAt(&p.cfg, p.facts.Object, p.facts.IPs)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(p.client, 0, informers.WithTransform(keep))
	nodes := factory.Core().V1().Nodes()
	p.nodes = nodes.Informer().GetIndexer()
	p.events = events.NewBroadcaster(&events.EventSinkImpl{Interface: p.client.EventsV1()})
	p.node, err = service.NewNode(service.NodeConfig{
		Name: p.cfg.Node, Cgroup: host.Cgroup{Root: p.places.cgroup}, PinDir: p.places.Pins,
		Addresses: p.facts.IPs, Uplinks: p.facts.Uplinks, AllLinks: true,
		NodePortsAt: open, NodePortRanges: ports, ServiceCIDRs: p.facts.services,
		Objects: p.objects, Nodes: nodes,
		HealthAddress: p.cfg.HealthzBindAddress, MetricsAddress: p.cfg.MetricsBindAddress,
		Events: p.events.NewRecorder(scheme.Scheme, component), Logger: p.log,
	})
	if err != nil {
		return err
	}
	// Up to here, nothing on the machine has been changed.
	lock, err := p.places.prepare()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := p.node.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.node.Close()) }()
	p.log.Info("Serving Services", "node", p.cfg.Node, "addresses", p.facts.IPs, "uplinks", p.facts.Uplinks, "services", p.facts.services, "cgroup", p.places.cgroup, "pins", p.places.Pins)
	return p.keepRunning(ctx, factory)
}

// keepRunning runs everything that serves the node until ctx ends, or until the data plane has to be made anew.
func (p *proxy) keepRunning(ctx context.Context, factory informers.SharedInformerFactory) error {
	g, ctx := errgroup.WithContext(ctx)
	follow := p.followFacts(factory)
	g.Go(func() error { return follow(ctx) })
	g.Go(func() error { return p.objects.Run(ctx) })
	g.Go(func() error {
		foreign.SlimDown(ctx, p.log, p.node.Controller.Synced(), p.objects.Replaced())
		return nil
	})
	g.Go(func() error {
		// A server whose port another process has, such as a kube-proxy that is about to end, is started again until it
		// gets the port.
		supervise.New(supervise.Config{Logger: p.log}).Run(ctx,
			supervise.Part{Name: "services", Run: p.node.Forward},
			supervise.Part{Name: "health-checks", Run: p.node.ServeChecks},
			supervise.Part{Name: "health", Run: p.node.ServeHealth},
			supervise.Part{Name: "metrics", Run: p.node.ServeMetrics},
			supervise.Part{Name: "events", Run: p.tell},
		)
		return nil
	})
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	return g.Wait()
}

// tell says in an event of the Node that the proxy started, as kube-proxy does.
func (p *proxy) tell(ctx context.Context) error {
	defer p.events.Shutdown()
	if err := p.events.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	recorder := p.events.NewRecorder(scheme.Scheme, component)
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: p.cfg.Node}
	recorder.Eventf(node, nil, corev1.EventTypeNormal, "Starting", "StartMinatoProxy", "Services of this node are served by %s", component)
	<-ctx.Done()
	return nil
}
