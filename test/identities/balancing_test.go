package identities

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer"
)

// announcing is what the nodes of a cluster read and write to announce
// addresses.
type announcing struct {
	settings *loadbalancer.Settings
	events   *loadbalancer.Recorder
}

func newAnnouncing(t *testing.T, c *cluster) *announcing {
	t.Helper()
	client := c.client(t, access.UserLoadBalancerNode)
	settings, err := loadbalancer.NewSettings(loadbalancer.SettingsConfig{Client: client, Dynamic: c.dynamic(t, access.UserLoadBalancerNode)})
	if err != nil {
		t.Fatal(err)
	}
	events, err := loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	return &announcing{settings, events}
}

// test reads the configuration and tells of something twice.
func (a *announcing) test(ctx context.Context, t *testing.T, c *cluster) {
	eventually(t, "configuration of load balancing", func() bool {
		_, known := a.settings.Current()
		return known
	})
	for range 2 {
		a.events.Event(loadbalancer.SourceSpeaker, corev1.ObjectReference{Kind: "Node", Name: "node-1"}, corev1.EventTypeNormal, "Greeting", "the node is there")
	}
	eventually(t, "event", func() bool {
		list, err := c.admin.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "reason=Greeting"})
		return err == nil && len(list.Items) == 1 && list.Items[0].Count == 2
	})
}
