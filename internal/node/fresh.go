package node

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// fresh reads from the API server what must not be older than the Pod that is
// decided about: the node's own Node, and the Services for its environment. A
// watch tells of these too, but nobody knows when: a Pod that the scheduler has
// placed because of a label may well arrive before the label does.
type fresh struct {
	cfg *Config
	// life is the agent's; no read outlives it.
	life     context.Context
	nodes    coalesce[string, *v1.Node]
	services coalesce[string, []*v1.Service]
	// pressure are the conditions about what the node lacks that are true.
	pressure func() []v1.NodeConditionType
}

func newFresh(life context.Context, cfg *Config) *fresh {
	f := &fresh{cfg: cfg, life: life, pressure: func() []v1.NodeConditionType { return nil }}
	f.nodes.read = func(ctx context.Context, name string) (*v1.Node, error) {
		// Without a resource version the API server asks etcd.
		node, err := cfg.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		// The agent knows what it has before it has reported so.
		cfg.setResources(&node.Status, node.Status)
		for _, c := range pressures(f.pressure()) {
			setCondition(&node.Status, c, metav1.Now())
		}
		return node, nil
	}
	f.services.read = func(ctx context.Context, namespace string) ([]*v1.Service, error) {
		list, err := cfg.Client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		all := make([]*v1.Service, len(list.Items))
		for i := range list.Items {
			all[i] = &list.Items[i]
		}
		return all, nil
	}
	return f
}

// node returns the Node as it is now or later.
func (f *fresh) node(ctx context.Context) (*v1.Node, error) {
	return f.nodes.get(ctx, f.life, f.cfg.Name)
}

// servicesFor lists what a Pod's environment is made of: the Services of its
// namespace and the API server's own, as of the resource version since or later.
// An empty since asks for nothing newer than what the watch has told of.
func (f *fresh) servicesFor(ctx context.Context, pod *v1.Pod, since string) ([]*v1.Service, error) {
	if err := f.synced(ctx); err != nil {
		return nil, err
	}
	known, err := f.cfg.Services.List(everything())
	if err != nil {
		return nil, err
	}
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	if since == "" || !links || f.watched(since) {
		return known, nil
	}
	all, err := f.services.get(ctx, f.life, pod.Namespace)
	if err != nil {
		return nil, fmt.Errorf("list the Services of namespace %s: %w", pod.Namespace, err)
	}
	for _, s := range known {
		if s.Namespace != pod.Namespace {
			all = append(all[:len(all):len(all)], s)
		}
	}
	return all, nil
}

// synced waits for the Services to be known: a container that starts without
// the API server's variables would not find it later either.
func (f *fresh) synced(ctx context.Context) error {
	for !f.cfg.ServicesSynced() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// watched tells whether the watch of Services has come to a resource version.
// Versions of different kinds can be compared because one etcd counts them all;
// where they are not numbers of that kind, the answer is no.
func (f *fresh) watched(since string) bool {
	if f.cfg.ServicesVersion == nil {
		return false
	}
	c, err := resourceversion.CompareResourceVersion(f.cfg.ServicesVersion(), since)
	return err == nil && c >= 0
}

// wait returns when no read is under way; life must have ended.
func (f *fresh) wait() {
	f.nodes.wait()
	f.services.wait()
}

// runtimeClass returns the handler that a RuntimeClass names.
func (f *fresh) runtimeClass(ctx context.Context, name string) (string, error) {
	rc, err := f.cfg.Client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return rc.Handler, nil
}
