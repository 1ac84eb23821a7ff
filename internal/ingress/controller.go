package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Events takes events about objects of the API.
type Events interface {
	// Event tells of something that happened to an object; eventType is corev1.EventTypeNormal or EventTypeWarning.
	Event(source string, about corev1.ObjectReference, eventType, reason, message string)
}

// ControllerConfig names what a Controller works with.
type ControllerConfig struct {
	Client kubernetes.Interface
	// The informers are the cluster's; whoever owns them starts them.
	Ingresses networkinginformers.IngressInformer
	Classes   networkinginformers.IngressClassInformer
	Services  coreinformers.ServiceInformer
	Slices    discoveryinformers.EndpointSliceInformer
	Options   Options
	// Publish is the Service whose address Ingresses have, if one of its endpoints is ready; Addresses, if there are any, are
	// those in place of it.
	Publish   types.NamespacedName
	Addresses []networkingv1.IngressLoadBalancerIngress
	// Find, if not nil, finds the addresses in place of both; Moved has it called again.
	Find func() []networkingv1.IngressLoadBalancerIngress
	// Namespaces, if not nil, are those whose Ingresses are served.
	Namespaces *Namespaces
	// Serves, if not nil, tells whether the proxies serve an Ingress: its address is written only then. Served has it called
	// again.
	Serves func(types.NamespacedName, types.UID) bool
	// NoStatus leaves the status of Ingresses to somebody else.
	NoStatus bool
	// Own has the Service made with the first Ingress, and the IngressClasses once in a cluster's life.
	Own    bool
	Events Events
	Logger *slog.Logger
}

// Controller is what a cluster has once: it writes the status of Ingresses, tells of them in events, and makes the Service
// through which clients come and the IngressClasses. A cluster has one that runs.
type Controller struct {
	cfg  ControllerConfig
	log  *slog.Logger
	wake chan struct{}

	mu    sync.Mutex
	dirty map[types.NamespacedName]struct{}
	all   bool // the address or the classes may have changed
	told  map[types.NamespacedName]*told
	found []Findings
}

// NewController returns a Controller that Run starts.
func NewController(cfg ControllerConfig) (*Controller, error) {
	if cfg.Client == nil || cfg.Ingresses == nil || cfg.Classes == nil || cfg.Services == nil || cfg.Slices == nil {
		return nil, errors.New("ingress controller: a client and informers for Ingresses, IngressClasses, Services and EndpointSlices are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Events == nil {
		cfg.Events = noEvents{}
	}
	askFor(cfg.Ingresses, cfg.Classes, cfg.Services, cfg.Slices)
	if cfg.Namespaces != nil {
		askFor(cfg.Namespaces.Informer)
	}
	if err := indexSlices(cfg.Slices.Informer()); err != nil {
		return nil, err
	}
	return &Controller{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1),
		dirty: map[types.NamespacedName]struct{}{}, told: map[types.NamespacedName]*told{},
	}, nil
}

// noEvents tells nobody.
type noEvents struct{}

func (noEvents) Event(string, corev1.ObjectReference, string, string, string) {}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	stop, waits, err := c.subscribe()
	if err != nil {
		if ctx.Err() != nil {
			return nil // the informers have stopped before
		}
		return fmt.Errorf("ingress controller: %w", err)
	}
	defer stop()
	if !cache.WaitFor(ctx, "", waits...) {
		return nil
	}
	var own sync.WaitGroup
	defer own.Wait()
	if c.cfg.Own {
		own.Go(func() { c.makeClasses(ctx) })
	}
	c.everything()
	w := newStatusWriter(c)
	pause := firstWrite
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-again:
		}
		if err := w.step(ctx); err == nil {
			again, pause = nil, firstWrite
		} else if ctx.Err() == nil {
			if pause == lastWrite {
				c.log.Warn("What a cluster has once for its Ingresses could not be written, which is tried again", "error", err)
			}
			again = time.After(pause)
			pause = min(2*pause, lastWrite)
		}
	}
}

// Found takes what a node's proxy has found.
func (c *Controller) Found(all []Findings) {
	c.mu.Lock()
	c.found = append(c.found, all...)
	c.mu.Unlock()
	poke(c.wake)
}

// Moved tells that Find finds other addresses now.
func (c *Controller) Moved() { c.everything() }

// Served takes the Ingresses that a node's proxy has begun to serve.
func (c *Controller) Served(names []types.NamespacedName) {
	for _, n := range names {
		c.note(n)
	}
}

// ours tells whether an Ingress is served.
func (c *Controller) ours(ing *networkingv1.Ingress, classes []*networkingv1.IngressClass) bool {
	_, ours, _ := c.cfg.Options.classOf(ing, classes)
	return ours && c.cfg.Namespaces.serve(ing.Namespace)
}

func (c *Controller) everything() {
	c.mu.Lock()
	c.all = true
	c.mu.Unlock()
	poke(c.wake)
}

func (c *Controller) note(n types.NamespacedName) {
	c.mu.Lock()
	c.dirty[n] = struct{}{}
	c.mu.Unlock()
	poke(c.wake)
}

// subscribe has every change noted.
func (c *Controller) subscribe() (stop func(), waits []cache.DoneChecker, err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	follow := func(informer cache.SharedIndexInformer, tell func(any)) {
		if err != nil {
			return
		}
		var r cache.ResourceEventHandlerRegistration
		r, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) }, DeleteFunc: tell})
		if err != nil {
			return
		}
		stops = append(stops, func() { _ = informer.RemoveEventHandler(r) }) // it fails only if the informer has stopped
		waits = append(waits, r.HasSyncedChecker())
	}
	follow(c.cfg.Ingresses.Informer(), func(o any) {
		if k := metaKey(KindIngress, o); k.Name != "" {
			c.note(k.named())
		}
	})
	follow(c.cfg.Classes.Informer(), func(any) { c.everything() })
	follow(c.cfg.Services.Informer(), func(o any) {
		if metaKey(KindService, o).named() == c.cfg.Publish {
			c.everything()
		}
	})
	follow(c.cfg.Slices.Informer(), func(o any) {
		if serviceOfSlice(o).named() == c.cfg.Publish {
			c.everything()
		}
	})
	if err == nil && c.cfg.Namespaces != nil {
		var end func()
		var synced cache.DoneChecker
		if end, synced, err = c.cfg.Namespaces.follow(c.cfg.Ingresses.Informer(), func(k Key) { c.note(k.named()) }); err == nil {
			stops, waits = append(stops, end), append(waits, synced)
		}
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return stop, waits, nil
}

// address is what Ingresses have in their status: that of the Service. Where it is made here, a proxy must serve; elsewhere
// the Controller's own process has one.
func (c *Controller) address() []networkingv1.IngressLoadBalancerIngress {
	if c.cfg.Find != nil {
		return c.cfg.Find()
	}
	if len(c.cfg.Addresses) > 0 {
		return c.cfg.Addresses
	}
	service, ok := stored[*corev1.Service](c.cfg.Services.Informer(), keyOf(KindService, c.cfg.Publish))
	if !ok || c.cfg.Own && !c.serves() {
		return nil
	}
	return addressOf(service)
}

// serves tells whether an endpoint of the Service is ready.
func (c *Controller) serves() bool {
	for _, s := range c.slices() {
		for i := range s.Endpoints {
			if ready := s.Endpoints[i].Conditions.Ready; ready == nil || *ready {
				return true
			}
		}
	}
	return false
}

// slices are those of the Service.
func (c *Controller) slices() []*discoveryv1.EndpointSlice {
	all, _ := c.cfg.Slices.Informer().GetIndexer().ByIndex(bySliceService, c.cfg.Publish.String()) // an index that is there makes no error
	out := make([]*discoveryv1.EndpointSlice, 0, len(all))
	for _, o := range all {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			out = append(out, s)
		}
	}
	return out
}

// addressOf is where a Service is reached from outside, as ingress-nginx has it for --publish-service.
func addressOf(s *corev1.Service) []networkingv1.IngressLoadBalancerIngress {
	var out []networkingv1.IngressLoadBalancerIngress
	ips := func(all ...string) {
		for _, ip := range all {
			if ip != "" && ip != corev1.ClusterIPNone {
				out = append(out, networkingv1.IngressLoadBalancerIngress{IP: ip})
			}
		}
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		out = append(out, networkingv1.IngressLoadBalancerIngress{Hostname: s.Spec.ExternalName})
	case corev1.ServiceTypeLoadBalancer:
		for _, in := range s.Status.LoadBalancer.Ingress {
			out = append(out, networkingv1.IngressLoadBalancerIngress{IP: in.IP, Hostname: in.Hostname})
		}
		ips(s.Spec.ExternalIPs...)
	default:
		if len(s.Spec.ExternalIPs) > 0 {
			ips(s.Spec.ExternalIPs...)
		} else {
			ips(s.Spec.ClusterIP)
		}
	}
	return out
}
