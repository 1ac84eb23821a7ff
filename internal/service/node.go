package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/events"

	"minato/internal/host"
	"minato/internal/host/limit"
	"minato/internal/service/dataplane"
	"minato/internal/service/health"
	"minato/internal/service/metrics"
	"minato/internal/service/route"
)

// NodeConfig says what one node's Services are served with.
type NodeConfig struct {
	Name string
	// Netns is the node's network namespace; Cgroup holds all of its processes.
	Netns  host.Netns
	Cgroup host.Cgroup
	// PinDir is a directory of a bpf file system, for this node alone.
	PinDir string
	// Addresses are the node's own, one of each IP family: masqueraded traffic takes them.
	Addresses []netip.Addr
	// Uplinks are the interfaces towards the outside. AllLinks has the programs attached to every interface that may lead
	// to Pods, as they come and go; without it, whoever makes a Pod's interface calls AttachPod.
	Uplinks  []string
	AllLinks bool
	// NodePortsAt tells whether NodePorts answer at a node's address, nil for all of them. NodePortRanges has NodePorts
	// answer at this node's further addresses in these ranges.
	NodePortsAt    func(netip.Addr) bool
	NodePortRanges []netip.Prefix
	ServiceCIDRs   []netip.Prefix

	// Objects and Nodes are what the cluster has; whoever owns the informer starts it.
	Objects Objects
	Nodes   coreinformers.NodeInformer
	// HostPorts are those of the node's Pods; nil if something else serves hostPorts, or nothing.
	HostPorts HostPorts
	// OwnPorts are ports of the node itself, which no Pod's hostPort takes.
	OwnPorts []route.OwnPort
	// Events tells of health checks of Services that can't be served; nil tells nobody.
	Events events.EventRecorder

	// HealthAddress is where /healthz and /livez answer, MetricsAddress where /metrics does; empty for nowhere.
	HealthAddress, MetricsAddress string
	// Limits bounds the connections; nil makes bounds for these alone.
	Limits *limit.Budget
	Logger *slog.Logger
}

// Node is all that one node needs for Services: the data plane in the kernel, the controller that keeps it in step, the
// health checks of Services, and the node's own health and metrics.
type Node struct {
	cfg        NodeConfig
	Data       *dataplane.DataPlane
	Controller *Controller

	checks  *health.Server
	metrics *metrics.Server
}

// NewNode puts the parts together. It changes nothing on the machine.
func NewNode(cfg NodeConfig) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.Limits, err = cfg.Limits.OrDefault(cfg.Logger); err != nil {
		return nil, fmt.Errorf("services of node %s: %w", cfg.Name, err)
	}
	n := &Node{cfg: cfg}
	n.Data, err = dataplane.New(dataplane.Config{
		Netns: cfg.Netns, Cgroup: cfg.Cgroup, PinDir: cfg.PinDir,
		Uplinks: cfg.Uplinks, AllLinks: cfg.AllLinks, NodePortsAt: cfg.NodePortsAt,
		NodeName: cfg.Name, NodeIPs: cfg.Addresses, ServiceCIDRs: cfg.ServiceCIDRs,
		Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	n.checks, err = health.New(health.Config{
		Listen: n.listen("health checks of Services"), Healthy: n.healthy, NodeName: cfg.Name, Events: healthEvents(cfg.Events), Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	n.metrics, err = metrics.New(metrics.Config{Source: n.Data, Healthy: n.healthy, Registry: prometheus.NewRegistry(), Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	n.Controller, err = New(Config{
		NodeName: cfg.Name, Objects: cfg.Objects, Nodes: cfg.Nodes, HostPorts: cfg.HostPorts, OwnPorts: cfg.OwnPorts,
		DataPlane: ownAddresses{DataPlane: n.Data, cfg: cfg},
		Health:    n.checks, Observer: n.metrics,
		Logger: cfg.Logger,
	})
	return n, err
}

// listen opens ports of the node, with bounds for their connections.
func (n *Node) listen(name string) host.Listen {
	return n.cfg.Limits.Listen(limit.Listener{Name: name, Total: 256, PerSource: 32}, n.cfg.Netns.Listen)
}

func (n *Node) healthy() bool { return n.Controller.Healthy() }

// Open brings the programs into the kernel, or takes over what an earlier process left of them.
func (n *Node) Open(ctx context.Context) error { return n.Data.Open(ctx) }

// Close lets go of the programs. They stay and go on forwarding.
func (n *Node) Close() error { return n.Data.Close() }

// AttachPod serves the packets of a Pod's interface.
func (n *Node) AttachPod(link string) error { return n.Data.AttachPod(link) }

// Forward keeps the data plane in step with the cluster until ctx ends. Open comes first.
func (n *Node) Forward(ctx context.Context) error {
	runs := []func(context.Context) error{n.Data.Run, n.Controller.Run}
	if n.cfg.AllLinks {
		runs = append(runs, n.Data.FollowLinks)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range runs {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}

// ServeChecks answers at the healthCheckNodePorts of Services until ctx ends.
func (n *Node) ServeChecks(ctx context.Context) error { return n.checks.Run(ctx) }

// ServeHealth answers /healthz and /livez until ctx ends.
func (n *Node) ServeHealth(ctx context.Context) error {
	return n.serve(ctx, n.cfg.HealthAddress, n.healthHandler())
}

// ServeMetrics answers /metrics until ctx ends.
func (n *Node) ServeMetrics(ctx context.Context) error {
	return n.serve(ctx, n.cfg.MetricsAddress, n.metrics.Handler())
}

func (n *Node) serve(ctx context.Context, address string, h http.Handler) error {
	if address == "" {
		return nil
	}
	err := host.ServeHTTP(ctx, n.listen("health and metrics of Services"), h, address)
	if err == nil && ctx.Err() == nil {
		err = errors.New("the listener was closed")
	}
	if err != nil {
		return fmt.Errorf("health and metrics of Services on node %s: %w", n.cfg.Name, err)
	}
	return nil
}

// recorder is an event recorder as the health checks want it.
type recorder struct{ events events.EventRecorder }

// Eventf implements health.Events.
func (r recorder) Eventf(object runtime.Object, eventtype, reason, format string, args ...any) {
	r.events.Eventf(object, nil, eventtype, reason, "StartHealthcheck", format, args...)
}

func healthEvents(r events.EventRecorder) health.Events {
	if r == nil {
		return nil
	}
	return recorder{r}
}
