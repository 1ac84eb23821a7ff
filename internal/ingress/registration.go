package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// managedBy marks the EndpointSlices made here, so that no other controller takes them for its own.
const managedBy = "ingress.minato"

// RegistrationConfig describes one node's place behind the Service of the ingress.
type RegistrationConfig struct {
	Client kubernetes.Interface
	// Slices are the cluster's; whoever owns the informer starts it.
	Slices discoveryinformers.EndpointSliceInformer
	// Node and Zone are the node's; Addresses are where its proxy answers, one of each IP family.
	Node      string
	Zone      func() string
	Addresses []netip.Addr
	// Process is the node's proxy.
	Process interface {
		State() (s State, known bool)
		Changed() <-chan struct{}
	}
	Logger *slog.Logger
}

// Registration keeps a node's EndpointSlices of the Service in place: the node is ready when its proxy is.
type Registration struct {
	cfg  RegistrationConfig
	wake chan struct{}
	// served is whether the proxy was ready, and lost when it was not any more.
	served bool
	lost   time.Time
}

// NewRegistration returns a Registration that Run starts.
func NewRegistration(cfg RegistrationConfig) (*Registration, error) {
	if cfg.Client == nil || cfg.Slices == nil || cfg.Process == nil || cfg.Node == "" || len(cfg.Addresses) == 0 {
		return nil, errors.New("registration of a node's ingress: a client, an informer of EndpointSlices, the process, the node's name and its addresses are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Zone == nil {
		cfg.Zone = func() string { return "" }
	}
	return &Registration{cfg: cfg, wake: make(chan struct{}, 1)}, nil
}

// Pauses before a write that failed is tried again.
const (
	firstWrite   = 50 * time.Millisecond
	lastWrite    = 5 * time.Second
	writeTimeout = 10 * time.Second
)

// Run keeps the EndpointSlices as the proxy is until ctx ends. They stay then, as the proxy does.
func (r *Registration) Run(ctx context.Context) error {
	handle, err := r.cfg.Slices.Informer().AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: r.isMine,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { poke(r.wake) }, UpdateFunc: func(any, any) { poke(r.wake) }, DeleteFunc: func(any) { poke(r.wake) },
		},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("follow the EndpointSlices of the ingress: %w", err)
	}
	defer func() { _ = r.cfg.Slices.Informer().RemoveEventHandler(handle) }() // it fails only if the informer has stopped
	if !cache.WaitFor(ctx, "", handle.HasSyncedChecker()) {
		return nil
	}
	poke(r.wake)
	pause := firstWrite
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.cfg.Process.Changed():
		case <-r.wake:
		case <-again:
		}
		if left := r.hold(time.Now()); left > 0 {
			again = time.After(left)
			continue
		}
		err := r.ensure(ctx)
		if err == nil {
			again, pause = nil, firstWrite
			continue
		}
		if pause == lastWrite && ctx.Err() == nil {
			r.cfg.Logger.Warn("The node's ingress could not be registered with its Service, which is tried again", "node", r.cfg.Node, "error", err)
		}
		again = time.After(pause)
		pause = min(2*pause, lastWrite)
	}
}

// patience is how long a proxy that has ended may take to be back before the node is taken from the Service. Its sockets stay
// open meanwhile, so that who connects waits, and is not refused.
const patience = 2 * time.Second

// hold returns for how long what the EndpointSlices say of a proxy that has just ended is left as it is.
func (r *Registration) hold(now time.Time) time.Duration {
	switch state, known := r.cfg.Process.State(); {
	case state.Ready:
		r.served, r.lost = true, time.Time{}
		return 0
	case !known || !r.served:
		return 0
	}
	if r.lost.IsZero() {
		r.lost = now
	}
	if left := patience - now.Sub(r.lost); left > 0 {
		return left
	}
	r.served = false
	return 0
}

// Look has the EndpointSlices compared with what they should be.
func (r *Registration) Look() { poke(r.wake) }

func (r *Registration) isMine(obj any) bool {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	s, ok := obj.(*discoveryv1.EndpointSlice)
	return ok && s.Namespace == Namespace && strings.HasPrefix(s.Name, sliceName(r.cfg.Node, false))
}

// Unregister removes a node's EndpointSlices; it is no error if there are none.
func Unregister(ctx context.Context, client kubernetes.Interface, node string) error {
	var errs []error
	for _, ipv6 := range []bool{false, true} {
		name := sliceName(node, ipv6)
		err := client.DiscoveryV1().EndpointSlices(Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete EndpointSlice %s/%s: %w", Namespace, name, err))
		}
	}
	return errors.Join(errs...)
}

// sliceName is that of a node's slice of an IP family.
func sliceName(node string, ipv6 bool) string {
	if ipv6 {
		return Name + "-" + node + "-ipv6"
	}
	return Name + "-" + node
}

func (r *Registration) ensure(ctx context.Context) error {
	state, known := r.cfg.Process.State()
	if !known {
		return nil // what an earlier process wrote may well be right
	}
	var failed error
	for _, a := range r.cfg.Addresses {
		failed = errors.Join(failed, r.ensureSlice(ctx, r.slice(a, state)))
	}
	return failed
}

func (r *Registration) slice(a netip.Addr, state State) *discoveryv1.EndpointSlice {
	family := discoveryv1.AddressTypeIPv4
	if a.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: Namespace, Name: sliceName(r.cfg.Node, a.Is6()),
			Labels: map[string]string{discoveryv1.LabelServiceName: Name, discoveryv1.LabelManagedBy: managedBy},
		},
		AddressType: family,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{a.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(state.Ready), Serving: new(state.Ready), Terminating: new(false)},
			NodeName:   new(r.cfg.Node),
			// Who is on a node asks that node's proxy, as the Service's trafficDistribution says.
			Hints: &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: r.cfg.Node}}},
		}},
	}
	if zone := r.cfg.Zone(); zone != "" {
		out.Endpoints[0].Zone = &zone
		out.Endpoints[0].Hints.ForZones = []discoveryv1.ForZone{{Name: zone}}
	}
	for _, p := range []struct {
		name string
		port int32
	}{{socketHTTP, HTTPPort}, {socketHTTPS, HTTPSPort}} {
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: &p.name, Port: &p.port, Protocol: new(corev1.ProtocolTCP)})
	}
	for _, s := range state.Streams {
		if port, ok := s.Bound[a]; ok {
			out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: new(streamName(s.UDP, s.Port)), Port: new(int32(port)), Protocol: new(protocolOf(s.UDP))})
		}
	}
	return out
}

func protocolOf(udp bool) corev1.Protocol {
	if udp {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

func (r *Registration) ensureSlice(ctx context.Context, want *discoveryv1.EndpointSlice) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	client := r.cfg.Client.DiscoveryV1().EndpointSlices(Namespace)
	have, ok := stored[*discoveryv1.EndpointSlice](r.cfg.Slices.Informer(), Key{Kind: KindSlice, Namespace: Namespace, Name: want.Name})
	if !ok {
		if !*want.Endpoints[0].Conditions.Ready {
			return nil // there never was a proxy
		}
		_, err := client.Create(ctx, want, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // the informer will tell
		}
		if err != nil {
			return fmt.Errorf("create EndpointSlice %s/%s: %w", Namespace, want.Name, err)
		}
		return nil
	}
	if equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports) && hasLabels(have.Labels, want.Labels) {
		return nil
	}
	updated := have.DeepCopy()
	updated.Endpoints, updated.Ports = want.Endpoints, want.Ports
	if updated.Labels == nil {
		updated.Labels = map[string]string{}
	}
	for k, v := range want.Labels {
		updated.Labels[k] = v
	}
	if _, err := client.Update(ctx, updated, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("update EndpointSlice %s/%s: %w", Namespace, want.Name, err)
	}
	return nil // after a conflict, the informer tells what it is like now
}

func hasLabels(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}
