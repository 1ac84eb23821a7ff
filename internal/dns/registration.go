package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// ServiceNamespace and ServiceName are where everybody looks for the cluster DNS.
	ServiceNamespace = "kube-system"
	ServiceName      = "kube-dns"
	// ManagedBy marks the EndpointSlices made here, so that no other controller takes them for its own.
	ManagedBy = "dns.minato"

	servicePort       = 53
	firstRetry        = 50 * time.Millisecond // when the cluster starts, kube-system may not exist yet
	lastRetry         = 2 * time.Second
	unregisterTimeout = time.Second
)

// RegistrationConfig describes one node's place behind the cluster DNS address.
type RegistrationConfig struct {
	Client   kubernetes.Interface
	NodeName string
	// NodeIPs are where the node's Server answers; Port is its port.
	NodeIPs []netip.Addr
	Port    uint16
	// MetricsPort is published as the port "metrics" unless it is 0.
	MetricsPort uint16
	// ServiceIPs are the cluster DNS addresses, one for each IP family.
	ServiceIPs []netip.Addr
	// Ready, if not nil, is closed once the node's Server can answer; until then
	// the node is not listed.
	Ready  <-chan struct{}
	Logger *slog.Logger
}

// Registration keeps the kube-dns Service and this node's EndpointSlices in place.
type Registration struct {
	cfg RegistrationConfig
}

// NewRegistration checks cfg.
func NewRegistration(cfg RegistrationConfig) (*Registration, error) {
	switch {
	case cfg.Client == nil:
		return nil, errors.New("dns registration: a Client is required")
	case cfg.NodeName == "":
		return nil, errors.New("dns registration: NodeName is required")
	case len(cfg.NodeIPs) == 0 || cfg.Port == 0:
		return nil, fmt.Errorf("dns registration of %s: NodeIPs and Port of the node's server are required", cfg.NodeName)
	case len(cfg.ServiceIPs) == 0:
		return nil, fmt.Errorf("dns registration of %s: ServiceIPs is empty; pass the cluster DNS address, e.g. 10.96.0.10", cfg.NodeName)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registration{cfg: cfg}, nil
}

// Run creates the objects, and corrects them when somebody edits or deletes them,
// until ctx ends; then it deletes this node's EndpointSlices.
func (r *Registration) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	stop, err := r.watch(ctx, notify)
	if err != nil {
		return err
	}
	defer stop()
	notify()
	waiting := r.cfg.Ready
	listed := waiting == nil
	var retry <-chan time.Time
	delay := firstRetry
	for {
		select {
		case <-ctx.Done():
			r.withdraw()
			return nil
		case <-waiting:
			waiting, listed = nil, true
		case <-changed:
		case <-retry:
		}
		err := r.ensure(ctx, listed)
		if err == nil {
			retry, delay = nil, firstRetry
			continue
		}
		if delay >= lastRetry && ctx.Err() == nil {
			r.cfg.Logger.Warn("The node's DNS server could not be registered with the kube-dns Service; this is tried again", "node", r.cfg.NodeName, "error", err)
		}
		retry = time.After(delay)
		delay = min(2*delay, lastRetry)
	}
}

// withdraw deletes the node's EndpointSlices, with a deadline of its own as Run's
// context has ended. When the whole cluster stops, the API server may have ended
// before: an EndpointSlice that is left is used by this node's Pods only, and is
// corrected when the node starts again.
func (r *Registration) withdraw() {
	ctx, cancel := context.WithTimeout(context.Background(), unregisterTimeout)
	defer cancel()
	if err := Unregister(ctx, r.cfg.Client, r.cfg.NodeName); err != nil {
		r.cfg.Logger.Info("EndpointSlices of the kube-dns Service could not be deleted for a node that has stopped", "node", r.cfg.NodeName, "error", err)
	}
}

// Unregister removes a node's EndpointSlices, also those of a node that did not
// stop by itself. It is no error if there are none.
func Unregister(ctx context.Context, client kubernetes.Interface, nodeName string) error {
	var errs []error
	for _, v6 := range []bool{false, true} {
		name := sliceName(nodeName, v6)
		err := client.DiscoveryV1().EndpointSlices(ServiceNamespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete EndpointSlice %s/%s: %w", ServiceNamespace, name, err))
		}
	}
	return errors.Join(errs...)
}

// watch calls notify when one of the objects changes. It watches them by name,
// so that changes of other nodes' objects do not reach this one.
func (r *Registration) watch(ctx context.Context, notify func()) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var factories []informers.SharedInformerFactory
	stop = func() {
		cancel()
		for _, f := range factories {
			f.Shutdown()
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}
	add := func(name string, informer func(informers.SharedInformerFactory) cache.SharedIndexInformer) error {
		f := informers.NewSharedInformerFactoryWithOptions(r.cfg.Client, 0,
			informers.WithNamespace(ServiceNamespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
			}))
		factories = append(factories, f)
		if _, err := informer(f).AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch %s/%s: %w", ServiceNamespace, name, err)
		}
		f.Start(ctx.Done())
		return nil
	}
	err = add(ServiceName, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().Services().Informer()
	})
	for _, s := range r.slices() {
		if err != nil {
			break
		}
		err = add(s.Name, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
			return f.Discovery().V1().EndpointSlices().Informer()
		})
	}
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

func (r *Registration) ensure(ctx context.Context, listed bool) error {
	if err := r.ensureService(ctx); err != nil || !listed {
		return err
	}
	for _, want := range r.slices() {
		if err := r.ensureSlice(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registration) ensureService(ctx context.Context) error {
	services := r.cfg.Client.CoreV1().Services(ServiceNamespace)
	want := r.service()
	have, err := services.Get(ctx, ServiceName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return r.createService(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("get Service %s/%s: %w", ServiceNamespace, ServiceName, err)
	}
	if have.Spec.ClusterIP != want.Spec.ClusterIP {
		return fmt.Errorf("Service %s/%s has clusterIP %s, but Pods are told to ask %s; delete the Service, which is then created again, or set the cluster DNS address to %s",
			ServiceNamespace, ServiceName, have.Spec.ClusterIP, want.Spec.ClusterIP, have.Spec.ClusterIP)
	}
	updated := have.DeepCopy()
	mergeService(updated, want)
	if equality.Semantic.DeepEqual(have, updated) {
		return nil
	}
	if _, err := services.Update(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("update Service %s/%s: %w", ServiceNamespace, ServiceName, err)
	}
	return nil
}

// mergeService sets what the cluster DNS depends on and leaves the rest as it is.
func mergeService(have, want *corev1.Service) {
	if have.Labels == nil {
		have.Labels = map[string]string{}
	}
	for k, v := range want.Labels {
		have.Labels[k] = v
	}
	have.Spec.Type = want.Spec.Type
	have.Spec.Selector = nil
	have.Spec.InternalTrafficPolicy = want.Spec.InternalTrafficPolicy
	if !samePorts(have.Spec.Ports, want.Spec.Ports) {
		have.Spec.Ports = want.Spec.Ports
	}
}

// samePorts ignores what the API server fills in, and the target ports: each
// node's EndpointSlice says where its own server is.
func samePorts(a, b []corev1.ServicePort) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Protocol != b[i].Protocol || a[i].Port != b[i].Port {
			return false
		}
	}
	return true
}

func (r *Registration) ensureSlice(ctx context.Context, want *discoveryv1.EndpointSlice) error {
	slices := r.cfg.Client.DiscoveryV1().EndpointSlices(ServiceNamespace)
	have, err := slices.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if _, err := slices.Create(ctx, want, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create EndpointSlice %s/%s: %w", ServiceNamespace, want.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("get EndpointSlice %s/%s: %w", ServiceNamespace, want.Name, err)
	}
	updated := have.DeepCopy()
	if updated.Labels == nil {
		updated.Labels = map[string]string{}
	}
	for k, v := range want.Labels {
		updated.Labels[k] = v
	}
	updated.Endpoints, updated.Ports = want.Endpoints, want.Ports
	if equality.Semantic.DeepEqual(have, updated) {
		return nil
	}
	if _, err := slices.Update(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("update EndpointSlice %s/%s: %w", ServiceNamespace, want.Name, err)
	}
	return nil
}
