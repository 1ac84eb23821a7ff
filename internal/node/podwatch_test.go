package node

import (
	"context"
	"testing"

	"k8s.io/client-go/kubernetes/fake"
)

// The informer may end, with everything else, before the Pods are followed.
func TestPodWatchOfAnInformerThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	informer := NewPodInformer(fake.NewClientset(), "node-1")
	informer.RunWithContext(ctx)
	w := newPodWatch(&Config{Name: "node-1", Pods: informer}, nil, nil, nil)
	if err := w.run(ctx); err != nil {
		t.Errorf("as the node stops: %v", err)
	}
	if err := w.run(t.Context()); err == nil {
		t.Error("a node goes on without a watch of its pods, and nobody is told")
	}
}
