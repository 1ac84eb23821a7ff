package node

import (
	"errors"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"minato/internal/node/fakecri"
)

// A Node that somebody has deleted is made anew, and whoever writes into it is told.
func TestDeletedNodeIsMadeAnew(t *testing.T) {
	client, runtime := fake.NewClientset(), fakecri.New(clock.RealClock{})
	version, err := runtime.Version(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Name: "n", Client: client, Runtime: runtime, Images: fakecri.NewImages(), Trouble: func() Trouble { return Trouble{} }}
	n := newNodeStatus(cfg, version, record.NewFakeRecorder(10))
	told := 0
	n.renewed = func() { told++ }
	refresh := func() {
		t.Helper()
		if _, err := n.refresh(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.register(t.Context()); err != nil {
		t.Fatal(err)
	}
	refresh()
	if told != 0 {
		t.Error("told of a Node that was there")
	}
	if err := client.CoreV1().Nodes().Delete(t.Context(), "n", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	refresh()
	node, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil || told != 1 || node.Annotations[attachedByController] != "true" || node.Labels[v1.LabelHostname] != "n" {
		t.Errorf("told %d times, %v, %+v", told, err, node)
	}
}

// A runtime that does not answer has no fewer handlers for that: what it told last
// stays, as with the kubelet.
func TestHandlersWhileTheRuntimeIsDown(t *testing.T) {
	runtime := fakecri.New(clock.RealClock{})
	version, err := runtime.Version(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Name: "n", Client: fake.NewClientset(), Runtime: runtime, Images: fakecri.NewImages(), Trouble: func() Trouble { return Trouble{} }}
	n := newNodeStatus(cfg, version, record.NewFakeRecorder(10))
	up := n.status(t.Context(), v1.NodeStatus{})
	runtime.Fail("Status", errors.New("no answer"))
	down := n.status(t.Context(), up)
	if len(up.RuntimeHandlers) != 2 || len(down.RuntimeHandlers) != 2 {
		t.Errorf("handlers are %v, and %v while the runtime is down", up.RuntimeHandlers, down.RuntimeHandlers)
	}
}
