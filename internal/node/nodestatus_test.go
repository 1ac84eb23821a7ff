package node

import (
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
