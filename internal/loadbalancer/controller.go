package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Class is the loadBalancerClass of Services that are ours, besides those without a class.
const Class = "minato.local/loadbalancer"

// Config names what a Controller works with.
type Config struct {
	// Client writes Services, Dynamic the status of the objects of metallb.io.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Services and Namespaces are the cluster's; whoever owns the informers starts them.
	Services   coreinformers.ServiceInformer
	Namespaces coreinformers.NamespaceInformer
	// Settings is the configuration; whoever owns it runs it.
	Settings *Settings
	// Class is the loadBalancerClass that is served; empty for Class.
	Class string
	// Exclusive leaves Services without a class to somebody else.
	Exclusive bool
	// Events may be nil.
	Events Events
	// Pressure is that of those who write events and reports in this process; nil for none.
	Pressure *Pressure
	Logger   *slog.Logger
}

// Controller gives Services of type LoadBalancer their addresses. A cluster has one that runs.
type Controller struct {
	cfg     Config
	log     *slog.Logger
	metrics counters

	mu sync.Mutex
	// book is what the present Run knows, and what the last one knew.
	book *book
}

// New makes a Controller. It starts nothing.
func New(cfg Config) (*Controller, error) {
	switch {
	case cfg.Client == nil || cfg.Dynamic == nil:
		return nil, errors.New("load balancer controller: a Client and a Dynamic client are required")
	case cfg.Services == nil || cfg.Namespaces == nil:
		return nil, errors.New("load balancer controller: informers for Services and Namespaces are required")
	case cfg.Settings == nil:
		return nil, errors.New("load balancer controller: Settings are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Events == nil {
		cfg.Events = noEvents{}
	}
	if cfg.Class == "" {
		cfg.Class = Class
	}
	return &Controller{cfg: cfg, log: cfg.Logger}, nil
}

// Run gives addresses until ctx ends. It must not be called again before it has returned; then it begins anew with what
// the API says.
func (c *Controller) Run(ctx context.Context) error {
	changes := newChanges()
	stop, waits, err := c.subscribe(changes)
	if ctx.Err() != nil && err != nil {
		return nil // the informers have stopped before
	}
	if err != nil {
		return fmt.Errorf("load balancer controller: %w", err)
	}
	defer stop()
	// An address that is given while an object was merely not read yet would have to be taken back.
	if !cache.WaitFor(ctx, "", waits...) {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-c.cfg.Settings.Synced():
	}
	objects := newObjectWriter(c.cfg, &c.metrics)
	l := newLoop(c, changes, objects)
	ctx, cancel := context.WithCancel(ctx)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	writing.Go(func() { objects.run(ctx) })
	l.run(ctx)
	return nil
}

// subscribe has every change noted.
func (c *Controller) subscribe(to *changes) (stop func(), waits []cache.DoneChecker, err error) {
	services, namespaces := c.cfg.Services.Informer(), c.cfg.Namespaces.Informer()
	ofServices, err := services.AddEventHandler(noting(func(o *corev1.Service) { to.service(keyOf(o)) }))
	if err != nil {
		return nil, nil, fmt.Errorf("follow Services: %w", err)
	}
	ofNamespaces, err := namespaces.AddEventHandler(noting(func(o *corev1.Namespace) { to.namespace(o.Name) }))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("follow Namespaces: %w", err), services.RemoveEventHandler(ofServices))
	}
	unfollow := c.cfg.Settings.Follow(to.settings)
	stop = func() {
		unfollow()
		// This fails only if the informer has stopped.
		_, _ = services.RemoveEventHandler(ofServices), namespaces.RemoveEventHandler(ofNamespaces)
	}
	return stop, []cache.DoneChecker{ofServices.HasSyncedChecker(), ofNamespaces.HasSyncedChecker()}, nil
}

// noting calls note with each object that changes.
func noting[T any](note func(*T)) cache.ResourceEventHandler {
	tell := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if t, ok := o.(*T); ok {
			note(t)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) }, DeleteFunc: tell}
}

// ours tells whether a Service is to have an address from here.
func (c *Controller) ours(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil && c.servesClass(s.Spec.LoadBalancerClass)
}

func (c *Controller) servesClass(class *string) bool {
	if class == nil {
		return !c.cfg.Exclusive
	}
	return *class == c.cfg.Class
}

// changes collects what changed until the loop takes it.
type changes struct {
	wake chan struct{}

	mu         sync.Mutex
	services   map[types.NamespacedName]struct{}
	namespaces map[string]struct{}
	config     bool
}

func newChanges() *changes {
	c := &changes{wake: make(chan struct{}, 1)}
	c.take()
	return c
}

func (c *changes) service(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[key] = struct{}{}
	poke(c.wake)
}

func (c *changes) namespace(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces[name] = struct{}{}
	poke(c.wake)
}

func (c *changes) settings() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config = true
	poke(c.wake)
}

func (c *changes) take() (services map[types.NamespacedName]struct{}, namespaces map[string]struct{}, config bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	services, namespaces, config = c.services, c.namespaces, c.config
	c.services, c.namespaces, c.config = map[types.NamespacedName]struct{}{}, map[string]struct{}{}, false
	return services, namespaces, config
}
