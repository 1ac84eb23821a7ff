package usage

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"
)

// nodeStorage serves NodeMetrics.
type nodeStorage struct{ server *Server }

var (
	_ rest.KindProvider         = &nodeStorage{}
	_ rest.Scoper               = &nodeStorage{}
	_ rest.Getter               = &nodeStorage{}
	_ rest.Lister               = &nodeStorage{}
	_ rest.SingularNameProvider = &nodeStorage{}
)

// New implements rest.Storage.
func (*nodeStorage) New() runtime.Object { return &metrics.NodeMetrics{} }

// Destroy implements rest.Storage.
func (*nodeStorage) Destroy() {}

// Kind implements rest.KindProvider.
func (*nodeStorage) Kind() string { return "NodeMetrics" }

// NewList implements rest.Lister.
func (*nodeStorage) NewList() runtime.Object { return &metrics.NodeMetricsList{} }

// NamespaceScoped implements rest.Scoper.
func (*nodeStorage) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider; a bare "node" is a Node.
func (*nodeStorage) GetSingularName() string { return "" }

// Get implements rest.Getter.
func (n *nodeStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	node, err := n.server.cfg.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	switch {
	case apierrors.IsNotFound(err):
		return nil, apierrors.NewNotFound(metrics.Resource("nodes"), name)
	case err != nil:
		return nil, err
	}
	found, err := n.metrics(ctx, []corev1.Node{*node})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, apierrors.NewNotFound(metrics.Resource("nodes"), name)
	}
	return &found[0], nil
}

// List implements rest.Lister.
func (n *nodeStorage) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	nodes, err := n.server.cfg.Client.CoreV1().Nodes().List(ctx, selection(options))
	if err != nil {
		return nil, err
	}
	found, err := n.metrics(ctx, nodes.Items)
	if err != nil {
		return nil, err
	}
	return &metrics.NodeMetricsList{Items: found}, nil
}

// ConvertToTable implements rest.TableConvertor.
func (*nodeStorage) ConvertToTable(_ context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return table(object, options)
}

// metrics are those of the nodes that tell of them, in the order of nodes.
func (n *nodeStorage) metrics(ctx context.Context, nodes []corev1.Node) ([]metrics.NodeMetrics, error) {
	found := make([]*metrics.NodeMetrics, len(nodes))
	var g errgroup.Group
	for i := range nodes {
		g.Go(func() error {
			h, err := n.server.sampler.history(ctx, nodes[i].Name, func(history) bool { return true })
			if err != nil {
				return err
			}
			if r, ok := h.nodeRate(); ok {
				found[i] = &metrics.NodeMetrics{
					ObjectMeta: n.server.meta(&nodes[i].ObjectMeta),
					Timestamp:  metav1.NewTime(r.at), Window: metav1.Duration{Duration: r.window}, Usage: resources(r),
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := []metrics.NodeMetrics{}
	for _, f := range found {
		if f != nil {
			out = append(out, *f)
		}
	}
	return out, nil
}

// meta names an object like the one that its figures are of, with its labels.
func (s *Server) meta(of *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: of.Namespace, Name: of.Name, Labels: of.Labels,
		CreationTimestamp: metav1.NewTime(s.cfg.Clock.Now().Truncate(time.Second)),
	}
}

// selection asks the API server's cache for what a list selects. A field that
// can't be selected by is refused before anybody gets here.
func selection(options *internalversion.ListOptions) metav1.ListOptions {
	out := metav1.ListOptions{ResourceVersion: "0"}
	if options == nil {
		return out
	}
	if options.LabelSelector != nil {
		out.LabelSelector = options.LabelSelector.String()
	}
	if options.FieldSelector != nil {
		out.FieldSelector = options.FieldSelector.String()
	}
	return out
}
