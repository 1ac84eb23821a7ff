package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service/route"
)

// DataPlane takes the frontends.
type DataPlane interface {
	// ApplyAll replaces the frontends of Services; an empty list removes a Service. After an error each of them may or may
	// not have been applied.
	ApplyAll(ctx context.Context, desired map[types.NamespacedName][]route.Frontend) error
	// SetNodes replaces the nodes of the cluster.
	SetNodes(nodes []route.Node) error
	// Sweep deletes the entries that an earlier process left and ApplyAll did not take over.
	Sweep() error
}

// HealthChecks answers at healthCheckNodePorts.
type HealthChecks interface {
	// Set replaces the check of one Service; nil removes it.
	Set(service types.NamespacedName, check *route.HealthCheck)
}

// Observer is told of the controller's work, for metrics.
type Observer interface {
	// Applied is called after some Services were handed to the data plane.
	Applied(services int, took time.Duration)
	// Programmed is called when a change of endpoints is in the kernel, with the time since it came about.
	Programmed(after time.Duration)
}

// Config names what a Controller works with. The objects and the informer may be shared by the controllers of many
// nodes; whoever owns the informer starts it.
type Config struct {
	NodeName  string
	Objects   Objects
	Nodes     coreinformers.NodeInformer
	DataPlane DataPlane
	// HostPorts are those of the node's Pods; nil if something else serves hostPorts, or nothing.
	HostPorts HostPorts
	// OwnPorts are ports on which the node itself answers, see route.Node.
	OwnPorts []route.OwnPort
	// Health may be nil: then nobody answers at healthCheckNodePorts.
	Health HealthChecks
	// Observer may be nil.
	Observer Observer
	Logger   *slog.Logger
}

// Controller keeps the data plane of one node in step with the cluster.
type Controller struct {
	cfg      Config
	log      *slog.Logger
	catalog  *catalog
	synced   chan struct{}
	announce sync.Once // of synced: Run may be called again after it has failed
	retries  retries
	// full are the tables of which the log says that they are full. It is cleared once nothing is left to be tried again.
	full map[string]bool
	// failing is the time since which something waits to be tried again, nil if nothing does.
	failing atomic.Pointer[time.Time]
}

// New makes a Controller.
func New(cfg Config) (*Controller, error) {
	switch {
	case cfg.NodeName == "":
		return nil, errors.New("service controller: NodeName is empty; set it to the node's name in the cluster")
	case cfg.Objects == nil || cfg.Nodes == nil:
		return nil, fmt.Errorf("service controller of node %s: objects and an informer for Nodes are needed", cfg.NodeName)
	case cfg.DataPlane == nil:
		return nil, fmt.Errorf("service controller of node %s: a data plane is needed", cfg.NodeName)
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.HostPorts == nil {
		cfg.HostPorts = noHostPorts{}
	}
	c := &Controller{
		cfg:     cfg,
		log:     log.With("node", cfg.NodeName),
		synced:  make(chan struct{}),
		retries: newRetries(),
		full:    map[string]bool{},
	}
	c.catalog = newCatalog(cfg.NodeName, cfg.Objects, c.podKeys)
	c.catalog.ownPorts = cfg.OwnPorts
	return c, nil
}

// Synced is closed once all Services that the cluster had when Run started were handed to the data plane. What the data plane
// refused is logged and tried again.
func (c *Controller) Synced() <-chan struct{} { return c.synced }

// SetSilent says which other nodes answer nothing at present, all of them: nothing new is sent to their endpoints while there
// are others. The map must not change any more. It does not block.
func (c *Controller) SetSilent(nodes map[string]bool) { c.catalog.setSilent(nodes) }

// Run follows the cluster until ctx ends. It must not be called again before it has returned.
func (c *Controller) Run(ctx context.Context) error {
	waits, stop, err := c.subscribe()
	if err != nil {
		return fmt.Errorf("service controller of node %s: %w", c.cfg.NodeName, err)
	}
	defer stop()
	pods, stopPods, err := c.cfg.HostPorts.Follow(c.catalog.podChanged)
	if err != nil {
		return fmt.Errorf("service controller of node %s: %w", c.cfg.NodeName, err)
	}
	defer stopPods()
	// Nothing is applied before all objects are known: otherwise a part of a Service's endpoints would get all its traffic.
	if !cache.WaitFor(ctx, "", waits...) {
		return nil
	}
	// Services do not wait for Pods, but the sweep does: until Pods are known, entries of an earlier process may be those of
	// their hostPorts.
	swept, podsKnown := false, pods.Done()
	for {
		c.catalog.release(c.retries.due(time.Now()))
		c.step(ctx)
		c.failing.Store(c.retries.since())
		if c.retries.empty() {
			clear(c.full)
		}
		c.announce.Do(func() { close(c.synced) })
		// While a Service waits to be tried again, the entries of an earlier process may be what serves its traffic.
		if !swept && podsKnown == nil && c.retries.empty() {
			swept = c.sweep()
		}
		timer := c.retries.timer(time.Now())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.catalog.wake:
		case <-podsKnown:
			podsKnown = nil
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (c *Controller) sweep() bool {
	err := c.cfg.DataPlane.Sweep()
	if err != nil {
		c.log.Error("Table entries that an earlier process left could not be deleted; that is tried again at the next change", "error", err)
	}
	return err == nil
}

// atOnce bounds how many Services are applied together: enough to need few system calls, and few enough that a start with very
// many Services needs no memory for all of their frontends at a time.
const atOnce = 1000

// step applies what changed.
func (c *Controller) step(ctx context.Context) {
	c.catalog.followSilent()
	u := c.catalog.take()
	if u.nodes != nil {
		if err := c.cfg.DataPlane.SetNodes(u.nodes); err != nil {
			if !c.retries.waits(nodesKey) {
				c.log.Error("The addresses of nodes could not be written to the kernel and will be tried again", "error", err)
			}
			c.retries.failed(nodesKey, time.Now())
		} else {
			c.retries.succeeded(nodesKey)
		}
	}
	for services := range slices.Chunk(u.services, atOnce) {
		c.applyServices(ctx, services, u)
	}
}

// applyServices applies Services together, and one by one if that fails, so that a Service that the kernel refuses does not
// hold up the others.
func (c *Controller) applyServices(ctx context.Context, services []types.NamespacedName, u update) {
	desired := make(map[types.NamespacedName][]route.Frontend, len(services))
	for _, key := range services {
		desired[key] = c.compile(key, u.node)
	}
	began := time.Now()
	if c.apply(ctx, desired) != nil && len(desired) > 1 && ctx.Err() == nil {
		for key, frontends := range desired {
			c.apply(ctx, map[types.NamespacedName][]route.Frontend{key: frontends})
		}
	}
	c.observe(services, u.triggers, time.Since(began))
}

// compile decides what the data plane is to hold for a Service, or for a Pod's hostPorts.
func (c *Controller) compile(key types.NamespacedName, node route.Node) []route.Frontend {
	if pod, is := route.PodOf(key); is {
		ports := c.cfg.HostPorts.Pod(pod)
		if w := route.WarnHostPorts(ports, node); w != "" {
			c.log.Warn("A hostPort of a Pod is not served", "pod", pod, "reason", w)
		}
		return route.CompileHostPorts(pod, ports, node)
	}
	service, slices := c.cfg.Objects.Service(key)
	if w := route.Warning(service); w != "" {
		c.log.Warn("A field of a Service has no effect", "service", key, "reason", w)
	}
	c.catalog.setKeyed(key, len(route.TopologyKeys(service)) > 0)
	c.setHealth(key, service, slices, node)
	return route.Compile(service, slices, node)
}

// observe tells the Observer of what was applied. A Service that was refused is told of once it is in the kernel.
func (c *Controller) observe(services []types.NamespacedName, triggers map[types.NamespacedName][]time.Time, took time.Duration) {
	if c.cfg.Observer == nil {
		return
	}
	c.cfg.Observer.Applied(len(services), took)
	for _, key := range services {
		if c.retries.waits(key) {
			continue
		}
		for _, at := range triggers[key] {
			c.cfg.Observer.Programmed(time.Since(at))
		}
	}
}

func (c *Controller) setHealth(key types.NamespacedName, service *corev1.Service, slices []*discoveryv1.EndpointSlice, node route.Node) {
	if c.cfg.Health == nil {
		return
	}
	if check, ok := route.Health(service, slices, node); ok {
		c.cfg.Health.Set(key, &check)
	} else {
		c.cfg.Health.Set(key, nil)
	}
}

// Explanation is what this node makes of one Service, with reasons, or of the hostPorts of one Pod.
type Explanation struct {
	// Service names the Service, or the Pod by its route.PodKey.
	Service types.NamespacedName
	Why     []route.Explanation
	// Frontends are what the data plane should hold.
	Frontends []route.Frontend
}

// Explain goes through the Services that the node knows of, and its Pods with hostPorts, in the order of their names. It
// decides anew, by the same functions that decide for the data plane.
func (c *Controller) Explain() []Explanation {
	u := c.catalog.all()
	out := make([]Explanation, 0, len(u.services))
	for _, key := range u.services {
		if pod, is := route.PodOf(key); is {
			ports := c.cfg.HostPorts.Pod(pod)
			out = append(out, Explanation{
				Service: key, Why: route.ExplainHostPorts(pod, ports, u.node), Frontends: route.CompileHostPorts(pod, ports, u.node),
			})
			continue
		}
		service, slices := c.cfg.Objects.Service(key)
		if service == nil {
			continue // it was deleted meanwhile
		}
		out = append(out, Explanation{Service: key, Why: route.Explain(service, slices, u.node), Frontends: route.Compile(service, slices, u.node)})
	}
	return out
}

// unhealthyAfter is how long something may fail before the node reports that it is unhealthy.
const unhealthyAfter = 30 * time.Second

// Healthy tells whether the data plane is in step with the cluster, or was so within unhealthyAfter.
func (c *Controller) Healthy() bool {
	select {
	case <-c.synced:
	default:
		return false
	}
	failing := c.failing.Load()
	return failing == nil || time.Since(*failing) < unhealthyAfter
}

func (c *Controller) apply(ctx context.Context, desired map[types.NamespacedName][]route.Frontend) error {
	err := c.cfg.DataPlane.ApplyAll(ctx, desired)
	if ctx.Err() == nil && len(desired) == 1 { // several are tried one by one after a failure
		c.report(desired, err)
	}
	for key := range desired {
		if err != nil {
			c.retries.failed(key, time.Now())
		} else {
			c.retries.succeeded(key)
		}
	}
	return err
}

// report logs that the data plane refused a Service or a Pod with hostPorts: at the first of several attempts, and for a table
// that is full once for all Services.
func (c *Controller) report(desired map[types.NamespacedName][]route.Frontend, err error) {
	var full interface {
		error
		FullTable() string
	}
	isFull := errors.As(err, &full)
	for key := range desired {
		waits := c.retries.waits(key)
		switch {
		case err == nil && waits:
			c.log.Info("The frontends of a Service are in the kernel after all", "service", key)
		case err == nil || waits && !isFull:
		case !isFull:
			c.log.Error("The frontends of a Service could not be written to the kernel and will be tried again", "service", key, "error", err)
		case !c.full[full.FullTable()]:
			c.full[full.FullTable()] = true
			c.log.Error("A table of the data plane is full: frontends that don't fit are missing or out of date, and are tried again",
				"table", full.FullTable(), "service", key, "error", full.Error())
		case !waits:
			c.log.Debug("The frontends of a Service don't fit into a table of the data plane", "service", key, "table", full.FullTable())
		}
	}
}

// subscribe follows Nodes and Services, whose changes go to the catalog.
func (c *Controller) subscribe() (waits []cache.DoneChecker, stop func(), err error) {
	nodes := c.cfg.Nodes.Informer()
	r, err := nodes.AddEventHandler(handler(func(was, is *corev1.Node) {
		if is == nil {
			c.catalog.deleteNode(was.Name)
			return
		}
		c.catalog.setNode(is)
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("follow nodes: %w", err)
	}
	waits, stopObjects, err := c.cfg.Objects.Follow(c.catalog.changed)
	if err != nil {
		return nil, nil, errors.Join(err, nodes.RemoveEventHandler(r))
	}
	stop = func() {
		stopObjects()
		_ = nodes.RemoveEventHandler(r) // it fails only if the informer has stopped
	}
	return append(waits, r.HasSyncedChecker()), stop, nil
}
