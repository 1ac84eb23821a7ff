package dns

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"minato/internal/dns/zone"
)

// settingsOfZone is the part of a configuration that concerns the zone.
type settingsOfZone struct {
	ttl       uint32
	pods      zone.PodMode
	watchPods bool
}

// Configure implements Configurable. Pods are watched only while the configuration
// needs them; one that does takes effect once all Pods have been read.
func (s *Store) Configure(ttl uint32, pods zone.PodMode, watchPods bool) {
	s.mu.Lock()
	s.wanted = settingsOfZone{ttl, pods, watchPods || pods == zone.PodsVerified}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default: // Run is going to read wanted anyway
	}
}

func (s *Store) configure(ctx context.Context, pods *podWatch) {
	s.mu.Lock()
	want := s.wanted
	s.mu.Unlock()
	if want.watchPods {
		pods.start(ctx)
	} else {
		pods.stop()
	}
	s.mu.Lock()
	s.table.Configure(want.ttl, want.pods)
	s.mu.Unlock()
	s.commit()
}

// podWatch follows the addresses of Pods.
type podWatch struct {
	store   *Store
	factory informers.SharedInformerFactory
	cancel  context.CancelFunc
	synced  cache.InformerSynced
}

// start returns when every Pod has been read.
func (w *podWatch) start(ctx context.Context) {
	if w.cancel != nil || w.store.client == nil {
		return
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.factory = informers.NewSharedInformerFactoryWithOptions(w.store.client, 0,
		informers.WithTransform(podAddresses),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.AndSelectors(
				fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
				fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
			).String()
		}))
	informer := w.factory.Core().V1().Pods().Informer()
	set := func(obj any) {
		if p, ok := obj.(*corev1.Pod); ok {
			w.store.table.SetPod(p.Namespace, p.Name, podIPs(p))
		}
	}
	del := func(obj any) {
		if p, ok := obj.(*corev1.Pod); ok {
			w.store.table.DeletePod(p.Namespace, p.Name)
		}
	}
	reg, err := informer.AddEventHandler(w.store.handler(set, del))
	if err != nil {
		// Only an informer that has stopped refuses a handler.
		w.store.log.Error("DNS cannot watch Pods: verified names of Pods do not exist and autopath does nothing", "error", err)
		return
	}
	w.factory.Start(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), reg.HasSynced)
}

// stop ends the watch and removes the Pods from the zone.
func (w *podWatch) stop() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	w.factory.Shutdown()
	w.store.mu.Lock()
	for _, obj := range w.factory.Core().V1().Pods().Informer().GetStore().List() {
		if p, ok := obj.(*corev1.Pod); ok {
			w.store.table.DeletePod(p.Namespace, p.Name)
		}
	}
	w.store.mu.Unlock()
	w.cancel, w.factory = nil, nil
}

// podAddresses removes everything from a Pod but its name and addresses, to save memory.
func podAddresses(obj any) (any, error) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion},
		Status:     corev1.PodStatus{PodIPs: p.Status.PodIPs},
	}, nil
}

func podIPs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}
