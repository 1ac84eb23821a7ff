package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/ingress"
	"minato/internal/loadbalancer"
	"minato/internal/supervise"
)

// component is how the process calls itself to the API server.
const component = "minato-ingress"

// Run serves until told ends, and from then on as long as the flags and requests that are under way say.
func Run(told context.Context, cfg Config) error {
	plan, err := cfg.plan()
	if err != nil {
		return err
	}
	a := &alone{cfg: cfg, plan: plan, log: foreign.NewLogger(cfg.Verbosity), told: told}
	if err := a.connect(); err != nil {
		return err
	}
	// The ports are opened first, so that one in use is reported before anything is read.
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	if err := a.assemble(told); err != nil {
		for _, l := range append(listeners.HTTP, listeners.HTTPS...) {
			l.Close()
		}
		return err
	}
	a.node.Listen(listeners)
	a.log.Info("Serving Ingresses", "http", cfg.HTTPPort, "https", cfg.HTTPSPort, "controllerClass", cfg.ControllerClass, "ingressClass", cfg.IngressClass)
	return a.run()
}

// alone is one process.
type alone struct {
	cfg  Config
	plan plan
	log  *slog.Logger
	told context.Context // ends when the process shall

	// client waits for an API server that can't be reached; electing does not.
	client, electing kubernetes.Interface

	factories  []informers.SharedInformerFactory
	objects    *ingress.Objects
	namespaces *ingress.Namespaces
	places     *places // nil where nodes' addresses are not asked for
	node       *ingress.Node
	events     *loadbalancer.Recorder
	metrics    *prometheus.Registry
	// published are where the addresses of the Service are looked up.
	published informers.SharedInformerFactory
	// controller is nil while another process writes status and events.
	controller atomic.Pointer[ingress.Controller]
}

// connect makes clients of the API.
func (a *alone) connect() error {
	c, err := a.cfg.Connection.Clients(component, "the cluster whose Ingresses are served", a.log)
	a.client, a.electing = c.Client, c.Electing
	return err
}

// listen opens the ports for clients.
func (a *alone) listen() (out ingress.Listeners, err error) {
	open := func(flag string, port int) (net.Listener, error) {
		var lc net.ListenConfig
		l, err := lc.Listen(a.told, "tcp", ":"+strconv.Itoa(port))
		switch {
		case errors.Is(err, syscall.EACCES):
			return nil, fmt.Errorf("open the port of --%s: %w; run the process with the capability CAP_NET_BIND_SERVICE, set the sysctl net.ipv4.ip_unprivileged_port_start of its network namespace to %d or less, or give a port of 1024 or more", flag, err, port)
		case errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("open the port of --%s: %w; end what has it, such as another ingress, or give another port", flag, err)
		case err != nil:
			return nil, fmt.Errorf("open the port of --%s: %w", flag, err)
		}
		return l, nil
	}
	plain, err := open("http-port", a.cfg.HTTPPort)
	if err != nil {
		return out, err
	}
	secure, err := open("https-port", a.cfg.HTTPSPort)
	if err != nil {
		plain.Close()
		return out, err
	}
	return ingress.Listeners{HTTP: []net.Listener{plain}, HTTPS: []net.Listener{secure}, AccessLog: os.Stdout}, nil
}

// factory makes informers that this process starts.
func (a *alone) factory(options ...informers.SharedInformerOption) informers.SharedInformerFactory {
	f := informers.NewSharedInformerFactoryWithOptions(a.client, 0, append(options, informers.WithTransform(keep))...)
	a.factories = append(a.factories, f)
	return f
}

// assemble puts the parts together.
func (a *alone) assemble(ctx context.Context) error {
	main := a.factory(informers.WithNamespace(a.cfg.WatchNamespace))
	a.published = main
	if n := a.plan.publish.Namespace; n != "" && a.cfg.WatchNamespace != "" && n != a.cfg.WatchNamespace {
		a.published = a.factory(informers.WithNamespace(n))
	}
	if a.plan.selector != nil {
		a.namespaces = &ingress.Namespaces{Informer: a.factory().Core().V1().Namespaces(), Selector: a.plan.selector}
	}
	var err error
	a.objects, err = ingress.NewObjects(ingress.ObjectsConfig{
		Client: a.client, Ingresses: main.Networking().V1().Ingresses(), Classes: main.Networking().V1().IngressClasses(),
		Services: main.Core().V1().Services(), Slices: main.Discovery().V1().EndpointSlices(),
		Options: a.plan.options, Namespaces: a.namespaces, Logger: a.log,
	})
	if err != nil {
		return err
	}
	if a.cfg.UpdateStatus && a.plan.publish.Name == "" && len(a.plan.addresses) == 0 {
		if a.places, err = a.newPlaces(ctx); err != nil {
			return err
		}
	}
	if a.events, err = loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: a.client, Logger: a.log}); err != nil {
		return err
	}
	a.metrics = prometheus.NewRegistry()
	if err := a.metrics.Register(a.leading()); err != nil {
		return fmt.Errorf("metrics of the ingress: %w", err)
	}
	if a.node, err = ingress.NewNode(ingress.NodeConfig{Logger: a.log, Registry: a.metrics}); err != nil {
		return err
	}
	_, err = a.newController() // which has its informers started with the others
	return err
}

// facts are what the Node has to know. Without a zone and a name, hints of endpoints have no say.
func (a *alone) facts(ctx context.Context) (ingress.Facts, error) {
	f := ingress.Facts{Options: a.plan.options, Namespace: a.plan.pod.Namespace, Pod: a.plan.pod.Name, MetricsPerHost: a.cfg.MetricsPerHost}
	if !a.cfg.Topology {
		return f, nil
	}
	node, err := foreign.WaitNode(ctx, a.client, a.plan.node, a.log)
	if err != nil {
		return f, err
	}
	f.Node, f.Zone = node.Name, node.Labels[corev1.LabelTopologyZone]
	return f, nil
}

// run runs everything until the last request is done, or a part that can't be started again fails.
func (a *alone) run() error {
	// What serves runs on after the process was told to end.
	ctx, end := context.WithCancel(context.WithoutCancel(a.told))
	defer func() {
		for _, f := range a.factories {
			f.Shutdown()
		}
	}()
	defer end()
	facts, err := a.facts(a.told)
	if err != nil {
		return err
	}
	a.node.Tell(facts)
	for _, f := range a.factories {
		f.Start(ctx.Done())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.objects.Run(ctx) })
	g.Go(func() error { return a.objects.Follow(ctx, a.node.Apply) })
	g.Go(func() error { return a.followNode(ctx) })
	g.Go(func() error {
		defer end()
		err := a.node.Run(ctx)
		if a.told.Err() != nil {
			a.sleep(ctx, a.cfg.AfterShutdown)
		}
		return err
	})
	g.Go(func() error {
		a.leave(ctx)
		return nil
	})
	g.Go(func() error {
		supervise.New(supervise.Config{Logger: a.log}).Run(ctx,
			supervise.Part{Name: "controller", Run: a.compete},
			supervise.Part{Name: "events", Run: a.events.Run},
			supervise.Part{Name: "health", Run: a.serve},
		)
		return nil
	})
	return g.Wait()
}

// leave waits until the process is told to end. It is not ready from then on, and accepts connections as long as the flag says.
func (a *alone) leave(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.told.Done():
	}
	a.log.Info("The process was told to end, and is not ready any more", "acceptsFor", time.Duration(a.cfg.ShutdownGrace)*time.Second)
	a.sleep(ctx, a.cfg.ShutdownGrace)
	a.node.Drain()
}

func (a *alone) sleep(ctx context.Context, seconds int) {
	timer := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
