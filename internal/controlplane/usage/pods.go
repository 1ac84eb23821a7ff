package usage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"
)

// podStorage serves PodMetrics.
type podStorage struct{ server *Server }

var (
	_ rest.KindProvider         = &podStorage{}
	_ rest.Scoper               = &podStorage{}
	_ rest.Getter               = &podStorage{}
	_ rest.Lister               = &podStorage{}
	_ rest.SingularNameProvider = &podStorage{}
)

// New implements rest.Storage.
func (*podStorage) New() runtime.Object { return &metrics.PodMetrics{} }

// Destroy implements rest.Storage.
func (*podStorage) Destroy() {}

// Kind implements rest.KindProvider.
func (*podStorage) Kind() string { return "PodMetrics" }

// NewList implements rest.Lister.
func (*podStorage) NewList() runtime.Object { return &metrics.PodMetricsList{} }

// NamespaceScoped implements rest.Scoper.
func (*podStorage) NamespaceScoped() bool { return true }

// GetSingularName implements rest.SingularNameProvider; a bare "pod" is a Pod.
func (*podStorage) GetSingularName() string { return "" }

// Get implements rest.Getter.
func (p *podStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	pods := p.server.cfg.Client.CoreV1().Pods(genericapirequest.NamespaceValue(ctx))
	pod, err := pods.Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	switch {
	case apierrors.IsNotFound(err):
		return nil, apierrors.NewNotFound(metrics.Resource("pods"), name)
	case err != nil:
		return nil, err
	}
	found, err := p.metrics(ctx, []corev1.Pod{*pod})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, apierrors.NewNotFound(metrics.Resource("pods"), name)
	}
	return &found[0], nil
}

// List implements rest.Lister.
func (p *podStorage) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	pods, err := p.server.cfg.Client.CoreV1().Pods(genericapirequest.NamespaceValue(ctx)).List(ctx, selection(options))
	if err != nil {
		return nil, err
	}
	found, err := p.metrics(ctx, pods.Items)
	if err != nil {
		return nil, err
	}
	return &metrics.PodMetricsList{Items: found}, nil
}

// ConvertToTable implements rest.TableConvertor.
func (*podStorage) ConvertToTable(_ context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return table(object, options)
}

// metrics are those of the Pods that run and that their nodes tell of, sorted by
// namespace and name. Only the nodes of these Pods are asked.
func (p *podStorage) metrics(ctx context.Context, pods []corev1.Pod) ([]metrics.PodMetrics, error) {
	byNode := map[string][]*corev1.Pod{}
	for i := range pods {
		if pod := &pods[i]; pod.Status.Phase == corev1.PodRunning && pod.Spec.NodeName != "" {
			byNode[pod.Spec.NodeName] = append(byNode[pod.Spec.NodeName], pod)
		}
	}
	var mu sync.Mutex
	found := []metrics.PodMetrics{}
	var g errgroup.Group
	for name, pods := range byNode {
		g.Go(func() error {
			h, err := p.server.sampler.history(ctx, name, func(h history) bool { return !p.awaited(h, pods) })
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, pod := range pods {
				if rates, ok := h.podRates(podKey{pod.Namespace, pod.Name}); ok {
					found = append(found, podMetrics(p.server.meta(&pod.ObjectMeta), rates))
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b metrics.PodMetrics) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return found, nil
}

// lately tells whether what has this age may be what the next sample is about. What
// is to come began before the clock was set back.
func lately(age time.Duration) bool { return 0 <= age && age < window }

// awaited tells whether one of the Pods began so lately that the next sample may
// be what its rates lack.
func (p *podStorage) awaited(h history, pods []*corev1.Pod) bool {
	for _, pod := range pods {
		if _, ok := h.podRates(podKey{pod.Namespace, pod.Name}); ok {
			continue
		}
		for i := range pod.Status.ContainerStatuses {
			if r := pod.Status.ContainerStatuses[i].State.Running; r != nil && lately(p.server.cfg.Clock.Since(r.StartedAt.Time)) {
				return true
			}
		}
	}
	return false
}

// podMetrics are those of one Pod. Its time and window are those of the
// container that was looked at first.
func podMetrics(meta metav1.ObjectMeta, rates map[string]rate) metrics.PodMetrics {
	out := metrics.PodMetrics{ObjectMeta: meta}
	var at time.Time
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		r := rates[name]
		if at.IsZero() || r.at.Before(at) {
			at = r.at
			out.Timestamp, out.Window = metav1.NewTime(at), metav1.Duration{Duration: r.window}
		}
		out.Containers = append(out.Containers, metrics.ContainerMetrics{Name: name, Usage: resources(r)})
	}
	return out
}
