package balancer

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/loadbalancer"
	"minato/internal/loadbalancer/bgp"
	"minato/internal/service"
	"minato/internal/service/dataplane"
	"minato/internal/supervise"
)

const (
	// component is how the process calls itself to the API server.
	component = "minato-loadbalancer"
	// part names its directories.
	part = "loadbalancer"
)

// Run announces addresses at the node until ctx ends, and gives Services theirs while no other process of the cluster does.
// What it brought into the kernel stays and goes on answering; Run with Cleanup takes it away.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	if cfg.Cleanup {
		return cleanup(cfg)
	}
	b := &balancer{cfg: cfg, log: foreign.NewLogger(cfg.Verbosity)}
	where, err := foreign.FindPlaces(part, cfg.BPFDir)
	if err != nil {
		return err
	}
	if err := b.connect(); err != nil {
		return err
	}
	node, err := foreign.WaitNode(ctx, b.client, cfg.Node, b.log)
	if err != nil {
		return err
	}
	if b.facts, err = learn(node, cfg.Uplinks); err != nil {
		return err
	}
	if err := b.assemble(where); err != nil {
		return err
	}
	// Up to here, nothing on the machine has been changed.
	lock, err := where.Prepare()
	if err != nil {
		return err
	}
	defer lock.Close()
	b.log.Info("Announcing addresses of load balancers", "node", cfg.Node, "addresses", b.facts.IPs, "uplinks", b.facts.Uplinks, "gateways", b.facts.gateways, "pins", where.Pins)
	return b.run(ctx)
}

// balancer is one process.
type balancer struct {
	cfg   Config
	log   *slog.Logger
	facts facts

	// client and objects wait for an API server that can't be reached; electing does not.
	client, electing kubernetes.Interface
	objects          dynamic.Interface

	factory  informers.SharedInformerFactory
	settings *loadbalancer.Settings
	events   *loadbalancer.Recorder
	reports  *loadbalancer.Reports
	pressure *loadbalancer.Pressure
	node     *loadbalancer.Node
	speaker  *bgp.Local
	flows    *dataplane.PinnedFlows
	metrics  *prometheus.Registry
	// controller is nil while another process of the cluster gives addresses.
	controller atomic.Pointer[loadbalancer.Controller]
}

// connect makes clients of the API.
func (b *balancer) connect() error {
	c, err := b.cfg.Connection.Clients(component, "the cluster whose load balancers are served", b.log)
	if err != nil {
		return err
	}
	b.client, b.electing = c.Client, c.Electing
	if b.objects, err = dynamic.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	return nil
}

// assemble puts the parts together.
func (b *balancer) assemble(where foreign.Places) error {
	proxy, err := foreign.FindPlaces("proxy", b.cfg.BPFDir)
	if err != nil {
		return err
	}
	b.flows = &dataplane.PinnedFlows{PinDir: proxy.Pins, Logger: b.log}
	b.factory = informers.NewSharedInformerFactoryWithOptions(b.client, 0, informers.WithTransform(b.cfg.keep))
	b.pressure = &loadbalancer.Pressure{}
	nodes := b.factory.Core().V1().Nodes()
	objects, err := service.NewInformed(b.factory.Core().V1().Services(), b.factory.Discovery().V1().EndpointSlices())
	if err != nil {
		return err
	}
	if b.settings, err = loadbalancer.NewSettings(loadbalancer.SettingsConfig{Client: b.client, Dynamic: b.objects, Logger: b.log}); err != nil {
		return err
	}
	if b.events, err = loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: b.client, Pressure: b.pressure, Logger: b.log}); err != nil {
		return err
	}
	if b.reports, err = loadbalancer.NewReports(loadbalancer.ReportsConfig{Dynamic: b.objects, Pressure: b.pressure, Logger: b.log}); err != nil {
		return err
	}
	nodes.Informer() // Start only starts what somebody has asked for by then
	if b.speaker, err = bgp.NewLocal(bgp.LocalConfig{Logger: b.log}); err != nil {
		return err
	}
	b.node, err = loadbalancer.NewNode(loadbalancer.NodeConfig{
		Name: b.cfg.Node, Uplinks: b.facts.Uplinks, PinDir: announcePins(where), Addresses: b.facts.IPs, Gateways: b.facts.gateways,
		Flows: b.flows.Map, Expiry: expiry, Objects: objects, Nodes: nodes, Settings: b.settings, Serves: b.cfg.serves(),
		Speaker: b.speaker, Passwords: loadbalancer.ReadPasswords(b.client), Events: b.events, Reports: b.reports, Logger: b.log,
	})
	if err != nil {
		return err
	}
	b.metrics, err = b.registry()
	return err
}

// expiry is how long addresses are announced on after the end of a process, which is to be over by then: what a DaemonSet runs
// is back within seconds when it fails or is replaced. Afterwards the other nodes take over.
const expiry = 30 * time.Second

// announcePins is the directory of the node's announcements, which is there only while something is announced.
func announcePins(where foreign.Places) string { return filepath.Join(where.Pins, "announce") }

// serves tells whether a load balancer class is ours; nil is as without the flag.
func (cfg *Config) serves() func(class *string) bool {
	if cfg.Class == "" {
		return nil
	}
	return func(class *string) bool { return class != nil && *class == cfg.Class }
}

// run runs everything until ctx ends, or until the node has changed.
func (b *balancer) run(ctx context.Context) error {
	defer b.flows.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.followFacts(ctx) })
	g.Go(func() error {
		foreign.SlimDown(ctx, b.log, b.settings.Synced(), nil)
		return nil
	})
	// It can't be started a second time in a process: if it fails, the process ends, and whatever runs it starts the next one.
	g.Go(func() error { return b.speaker.Run(ctx) })
	g.Go(func() error {
		// A server whose port another process has, such as a speaker of MetalLB that is about to end, is started again until
		// it gets the port.
		supervise.New(supervise.Config{Logger: b.log}).Run(ctx,
			supervise.Part{Name: "settings", Run: b.settings.Run},
			supervise.Part{Name: "announcements", Run: b.announce},
			supervise.Part{Name: "controller", Run: b.compete},
			supervise.Part{Name: "events", Run: b.events.Run},
			supervise.Part{Name: "reports", Run: b.reports.Run},
			supervise.Part{Name: "metrics", Run: b.serve},
		)
		return nil
	})
	b.factory.Start(ctx.Done())
	defer b.factory.Shutdown()
	return g.Wait()
}
