package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/host"
	"minato/internal/ingress"
	"minato/internal/loadbalancer"
)

// component is how the process calls itself to the API server.
const component = "minato-ingress"

// Run serves Ingresses until ctx ends and what was under way is done, and writes their status while no other process of the
// cluster does.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	g := &gateway{cfg: cfg, log: foreign.NewLogger(cfg.Verbosity)}
	if err := g.connect(); err != nil {
		return err
	}
	if err := g.assemble(); err != nil {
		return err
	}
	g.log.Info("Serving Ingresses", "node", cfg.Node, "http", cfg.HTTPPort, "https", cfg.HTTPSPort)
	return g.run(ctx)
}

// gateway is one process.
type gateway struct {
	cfg Config
	log *slog.Logger

	// client waits for an API server that can't be reached; electing does not.
	client, electing kubernetes.Interface
	factory          informers.SharedInformerFactory
	nodes            informers.SharedInformerFactory // of this node alone
	objects          *ingress.Objects
	alone            *ingress.Alone
	events           *loadbalancer.Recorder
	// controller is nil while another process of the cluster writes status and events.
	controller atomic.Pointer[ingress.Controller]
}

// connect makes clients of the API.
func (g *gateway) connect() error {
	c, err := g.cfg.Connection.Config(component, "the cluster whose Ingresses are served")
	if err != nil {
		return err
	}
	c.QPS = -1 // how much is written at once is bounded where it is written
	if g.electing, err = kubernetes.NewForConfig(c); err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	c.Wrap(foreign.Patient(g.log))
	if g.client, err = kubernetes.NewForConfig(c); err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	return nil
}

// assemble puts the parts together.
func (g *gateway) assemble() error {
	g.factory = informers.NewSharedInformerFactoryWithOptions(g.client, 0, informers.WithNamespace(g.cfg.WatchNamespace), informers.WithTransform(ingress.Keep))
	g.nodes = informers.NewSharedInformerFactoryWithOptions(g.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, g.cfg.Node).String()
	}))
	var err error
	g.objects, err = ingress.NewObjects(ingress.ObjectsConfig{
		Client: g.client, Ingresses: g.factory.Networking().V1().Ingresses(), Classes: g.factory.Networking().V1().IngressClasses(),
		Services: g.factory.Core().V1().Services(), Slices: g.factory.Discovery().V1().EndpointSlices(),
		Options: g.cfg.options(), Logger: g.log,
	})
	if err != nil {
		return err
	}
	if g.events, err = loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: g.client, Logger: g.log}); err != nil {
		return err
	}
	g.alone, err = ingress.NewAlone(ingress.AloneConfig{
		Objects: g.objects, Facts: g.facts, Found: g.found, Listen: host.Netns{},
		HTTPPort: g.cfg.HTTPPort, HTTPSPort: g.cfg.HTTPSPort, StatusPort: g.cfg.StatusPort, AccessLog: os.Stdout, Logger: g.log,
	})
	g.nodes.Core().V1().Nodes().Informer() // Start only starts what somebody has asked for by then
	return err
}

func (g *gateway) facts() ingress.Facts {
	f := ingress.Facts{
		Node: g.cfg.Node, Namespace: g.cfg.namespace, Pod: os.Getenv("POD_NAME"), MetricsPerHost: g.cfg.MetricsPerHost, Options: g.cfg.options(),
	}
	if n := g.node(); n != nil {
		f.Zone = n.Labels[corev1.LabelTopologyZone]
	}
	return f
}

// node is the Node object, nil if there is none or it is not known yet.
func (g *gateway) node() *corev1.Node {
	o, _, _ := g.nodes.Core().V1().Nodes().Informer().GetStore().GetByKey(g.cfg.Node) // a key of this kind makes no error
	n, _ := o.(*corev1.Node)
	return n
}

// found passes on what was found about Ingresses, if it is this process that tells of it.
func (g *gateway) found(all []ingress.Findings) {
	if c := g.controller.Load(); c != nil {
		c.Found(all)
	}
}

// run runs everything until ctx ends and the proxy has ended.
func (g *gateway) run(ctx context.Context) error {
	// The proxy is told of changes until its last request is done.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, working := errgroup.WithContext(working)
	g.factory.Start(working.Done())
	g.nodes.Start(working.Done())
	defer g.factory.Shutdown()
	defer g.nodes.Shutdown()
	defer stop()
	zone, err := g.nodes.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { g.alone.Retell() }, UpdateFunc: func(any, any) { g.alone.Retell() },
	})
	if err != nil {
		return fmt.Errorf("follow the node: %w", err)
	}
	if !cache.WaitFor(ctx, "", zone.HasSyncedChecker()) {
		return nil
	}
	leading, resign := context.WithCancel(ctx)
	defer resign()
	group.Go(func() error { return g.objects.Run(working) })
	group.Go(func() error { return g.events.Run(working) })
	group.Go(func() error {
		defer resign()
		defer stop()
		return g.alone.Run(working)
	})
	group.Go(func() error { g.compete(leading); return nil })
	group.Go(func() error {
		select {
		case <-working.Done():
			return nil
		case <-ctx.Done():
		}
		g.alone.Unready()
		g.log.Info("The end was asked for; connections are still accepted for a while", "for", g.cfg.GracePeriod)
		select {
		case <-working.Done():
		case <-time.After(g.cfg.GracePeriod):
		}
		g.alone.Drain()
		return nil
	})
	return group.Wait()
}

// competePause is how long it takes until a process that has failed to lead tries again.
const competePause = 5 * time.Second

// compete writes status and events whenever this process is the one of the cluster that does.
func (g *gateway) compete(ctx context.Context) {
	name, err := os.Hostname()
	if err != nil {
		name = g.cfg.Node
	}
	l := foreign.Leader{
		Client: g.electing, Namespace: g.cfg.namespace, Name: g.cfg.ElectionID, Identity: name, Work: g.control,
		Begins: "This process writes the status of Ingresses from now on", Logger: g.log,
	}
	for ctx.Err() == nil {
		if err := l.Run(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("The status of Ingresses is not written by this process, which is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(competePause):
		}
	}
}

// control writes status and events until ctx ends.
func (g *gateway) control(ctx context.Context) error {
	publish, err := named(g.cfg.PublishService)
	if err != nil {
		return err
	}
	c, err := ingress.NewController(ingress.ControllerConfig{
		Client: g.client, Ingresses: g.factory.Networking().V1().Ingresses(), Classes: g.factory.Networking().V1().IngressClasses(),
		Services: g.factory.Core().V1().Services(), Slices: g.factory.Discovery().V1().EndpointSlices(),
		Options: g.cfg.options(), Publish: publish, Addresses: g.published(), NoStatus: !g.cfg.UpdateStatus, Events: g.events, Logger: g.log,
	})
	if err != nil {
		return err
	}
	g.controller.Store(c)
	defer g.controller.Store(nil)
	c.Found(g.alone.Findings())
	return c.Run(ctx)
}

// published are the addresses in place of those of a Service; the node's own where nothing was said.
func (g *gateway) published() []networkingv1.IngressLoadBalancerIngress {
	if out := g.cfg.addresses(); len(out) > 0 || g.cfg.PublishService != "" {
		return out
	}
	n := g.node()
	if n == nil {
		return nil
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		var out []networkingv1.IngressLoadBalancerIngress
		for _, a := range n.Status.Addresses {
			if _, err := netip.ParseAddr(a.Address); err == nil && a.Type == kind {
				out = append(out, networkingv1.IngressLoadBalancerIngress{IP: a.Address})
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}
