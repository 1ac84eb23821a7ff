package cluster

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/node/settings"
)

func TestShutdownTime(t *testing.T) {
	of := func(d time.Duration) *settings.Kubelet {
		return &settings.Kubelet{ShutdownGracePeriod: &metav1.Duration{Duration: d}}
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want time.Duration
	}{
		{"none", Config{NodeList: []NodeSpec{{}, {}}}, 0},
		{"of the cluster", Config{Kubelet: of(20 * time.Second), NodeList: []NodeSpec{{}, {}}}, 20 * time.Second},
		{"a node's own", Config{Kubelet: of(20 * time.Second), NodeList: []NodeSpec{{}, {Kubelet: of(time.Minute)}}}, time.Minute},
	} {
		if got := tt.cfg.shutdownTime(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
