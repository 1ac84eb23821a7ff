package lowmemory

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/spec"
)

type fakeNode struct {
	pods      []*v1.Pod
	used      map[types.UID]uint64
	available int64
	err       error
	evicted   []string
}

func (f *fakeNode) Evict(uid types.UID, reason, message string) bool {
	f.evicted = append(f.evicted, string(uid)+" "+reason+" "+message)
	return true
}

func (f *fakeNode) ListContainerStats(context.Context, *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	var out []*runtimeapi.ContainerStats
	for uid, bytes := range f.used {
		out = append(out, &runtimeapi.ContainerStats{
			Attributes: &runtimeapi.ContainerAttributes{Labels: map[string]string{spec.LabelPodUID: string(uid), spec.LabelContainerName: "app"}},
			Memory:     &runtimeapi.MemoryUsage{WorkingSetBytes: &runtimeapi.UInt64Value{Value: bytes}},
		})
	}
	return out, f.err
}

func TestOnePodIsEvictedAtATime(t *testing.T) {
	f := &fakeNode{available: Threshold, used: map[types.UID]uint64{}}
	for name, used := range map[string]uint64{"small": 10 * mi, "large": 500 * mi, "middle": 100 * mi, "ended": 900 * mi} {
		u := usage(name, 0, "", 0)
		u.Pod.UID = types.UID(name)
		if name == "ended" {
			u.Pod.Status.Phase = v1.PodFailed
		}
		f.pods, f.used[u.Pod.UID] = append(f.pods, u.Pod), used
	}
	m := New(Config{
		Pods: func() []*v1.Pod { return f.pods }, Evictor: f, Runtime: f,
		Available: func() (int64, error) { return f.available, nil }, Logger: slog.New(slog.DiscardHandler),
	})
	check := func(want ...string) {
		t.Helper()
		if err := m.check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(f.evicted, want, func(got, uid string) bool {
			return strings.HasPrefix(got, uid+" Evicted The node was low on resource: memory.")
		}) {
			t.Errorf("evicted %q, want %q", f.evicted, want)
		}
	}
	check() // there is enough
	f.available--
	check("large")
	check("large") // it has not given its memory back yet
	delete(f.used, "large")
	check("large", "middle")
	f.available = Threshold
	delete(f.used, "middle")
	check("large", "middle")
	f.available, f.err = 0, errors.New("no statistics")
	if err := m.check(t.Context()); !errors.Is(err, f.err) {
		t.Errorf("an error is lost: %v", err)
	}
}
