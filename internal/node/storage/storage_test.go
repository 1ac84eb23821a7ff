package storage

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	testclock "k8s.io/utils/clock/testing"

	"minato/internal/host"
	"minato/internal/node/spec"
)

func quantity(s string) *resource.Quantity { q := resource.MustParse(s); return &q }

func container(name, limit string) v1.Container {
	c := v1.Container{Name: name}
	if limit != "" {
		c.Resources.Limits = v1.ResourceList{v1.ResourceEphemeralStorage: *quantity(limit)}
	}
	return c
}

func emptyDir(name, limit string, medium v1.StorageMedium) v1.Volume {
	e := &v1.EmptyDirVolumeSource{Medium: medium}
	if limit != "" {
		e.SizeLimit = quantity(limit)
	}
	return v1.Volume{Name: name, VolumeSource: v1.VolumeSource{EmptyDir: e}}
}

// The messages are kubelet's, letter by letter.
func TestExceeded(t *testing.T) {
	const mi = 1 << 20
	critical := int32(2_000_000_000)
	for _, c := range []struct {
		name    string
		spec    v1.PodSpec
		usage   Usage
		limited bool
		want    string
	}{
		{name: "no limits", spec: v1.PodSpec{Containers: []v1.Container{container("c", "")}, Volumes: []v1.Volume{emptyDir("x", "", "")}},
			usage: Usage{Volumes: map[string]host.Usage{"x": {Bytes: 1 << 40}}}},
		{name: "emptyDir at its limit", spec: v1.PodSpec{Volumes: []v1.Volume{emptyDir("x", "1Mi", "")}},
			usage: Usage{Volumes: map[string]host.Usage{"x": {Bytes: mi}}}, limited: true},
		{name: "emptyDir above its limit", spec: v1.PodSpec{Volumes: []v1.Volume{emptyDir("w", "1Mi", ""), emptyDir("x", "1Mi", "")}},
			usage: Usage{Volumes: map[string]host.Usage{"x": {Bytes: mi + 1}}}, limited: true,
			want: `Usage of EmptyDir volume "x" exceeds the limit "1Mi". `},
		{name: "a limit of zero is none", spec: v1.PodSpec{Volumes: []v1.Volume{emptyDir("x", "0", "")}},
			usage: Usage{Volumes: map[string]host.Usage{"x": {Bytes: mi}}}},
		{name: "in memory the tmpfs limits it", spec: v1.PodSpec{Volumes: []v1.Volume{emptyDir("x", "1Mi", "Memory")}},
			usage: Usage{Volumes: map[string]host.Usage{"x": {Bytes: 2 * mi}}}},
		{name: "all of the Pod", spec: v1.PodSpec{Containers: []v1.Container{container("a", "1Mi"), container("b", "2Mi")}},
			usage:   Usage{Volumes: map[string]host.Usage{"x": {Bytes: mi}}, Containers: map[string]Container{"a": {Layer: host.Usage{Bytes: mi}}, "b": {Layer: host.Usage{Bytes: mi}}}, Files: host.Usage{Bytes: 1}},
			limited: true, want: "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. "},
		{name: "all of the Pod fits", spec: v1.PodSpec{Containers: []v1.Container{container("a", "1Mi"), container("b", "2Mi")}},
			usage: Usage{Volumes: map[string]host.Usage{"x": {Bytes: mi}}, Containers: map[string]Container{"a": {Layer: host.Usage{Bytes: mi}}, "b": {Layer: host.Usage{Bytes: mi}}}}, limited: true},
		{name: "one container", spec: v1.PodSpec{Containers: []v1.Container{container("a", "1Mi"), container("b", "2Mi")}},
			usage:   Usage{Containers: map[string]Container{"a": {Layer: host.Usage{Bytes: mi + 1}}}},
			limited: true, want: `Container a exceeded its local ephemeral storage limit "1Mi". `},
		{name: "a container without a limit beside one with", spec: v1.PodSpec{Containers: []v1.Container{container("a", "1Mi"), container("b", "")}},
			usage: Usage{Containers: map[string]Container{"b": {Layer: host.Usage{Bytes: mi}}}}, limited: true},
		{name: "a critical Pod stays", spec: v1.PodSpec{Priority: &critical, Volumes: []v1.Volume{emptyDir("x", "1Mi", "")}},
			usage: Usage{Volumes: map[string]host.Usage{"x": {Bytes: 2 * mi}}}, limited: true},
	} {
		pod := &v1.Pod{Spec: c.spec}
		if got := Limited(pod); got != c.limited {
			t.Errorf("%s: limited = %v, want %v", c.name, got, c.limited)
		}
		got, exceeded := Exceeded(pod, c.usage)
		if got != c.want || exceeded != (c.want != "") {
			t.Errorf("%s: %v, %q, want %q", c.name, exceeded, got, c.want)
		}
	}
}

// bench is a node made up of one Pod after the other.
type bench struct {
	pods    []*v1.Pod
	volumes map[string]host.Usage
	err     error
	layer   uint64
	files   []string
	evicted chan string
}

func (b *bench) Usage(context.Context, *v1.Pod) (map[string]host.Usage, error) {
	return b.volumes, b.err
}
func (b *bench) Files(types.UID) []string { return b.files }
func (b *bench) Evict(uid types.UID, reason, message string) bool {
	b.evicted <- string(uid) + " " + reason + ": " + message
	return true
}
func (b *bench) ListContainerStats(_ context.Context, f *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	return []*runtimeapi.ContainerStats{{
		Attributes:    &runtimeapi.ContainerAttributes{Labels: map[string]string{spec.LabelContainerName: "c", spec.LabelPodUID: f.LabelSelector[spec.LabelPodUID]}},
		WritableLayer: &runtimeapi.FilesystemUsage{UsedBytes: &runtimeapi.UInt64Value{Value: b.layer}},
	}, {}}, nil
}

func TestMeasureAddsUp(t *testing.T) {
	dir := t.TempDir()
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: v1.PodSpec{Containers: []v1.Container{container("c", "1Mi")}}}
	pod.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "debug"}}}
	logs, debug := filepath.Join(dir, spec.LogDir(pod), "c"), filepath.Join(dir, spec.LogDir(pod), "debug")
	file := filepath.Join(dir, "etc-hosts")
	if err := errors.Join(os.MkdirAll(logs, 0o755), os.MkdirAll(debug, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(logs, "0.log"), filepath.Join(debug, "0.log"), file} {
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{layer: 1 << 30, files: []string{file}, volumes: map[string]host.Usage{"x": {Bytes: 5}}, err: errors.New("too deep")}
	m := New(Config{Runtime: b, Volumes: b, LogDir: dir, Logger: slog.New(slog.DiscardHandler)})
	u, err := m.Measure(t.Context(), pod)
	if err == nil || u.Volumes["x"].Bytes != 5 {
		t.Errorf("volumes = %v, %v; want what was measured, and the error", u.Volumes, err)
	}
	if n := u.Containers["c"].bytes(); n < 1<<30+1<<20 || n > 1<<30+2<<20 {
		t.Errorf("the container takes %d bytes, want its layer of 1 GiB and its log of 1 MiB", n)
	}
	if n := u.Containers["debug"].bytes(); n < 1<<20 || n > 2<<20 {
		t.Errorf("the ephemeral container takes %d bytes, want its log of 1 MiB", n)
	}
	if u.Files.Bytes < 1<<20 || u.Files.Bytes > 2<<20 {
		t.Errorf("the files take %d bytes, want 1 MiB", u.Files.Bytes)
	}
}

func TestPodsAreEvictedOnce(t *testing.T) {
	clk := testclock.NewFakeClock(time.Unix(0, 0))
	pod := func(name string, change func(*v1.Pod)) *v1.Pod {
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: v1.PodSpec{Volumes: []v1.Volume{emptyDir("x", "1Mi", "")}}}
		change(p)
		return p
	}
	now := metav1.Now()
	b := &bench{volumes: map[string]host.Usage{"x": {Bytes: 2 << 20}}, evicted: make(chan string, 10), pods: []*v1.Pod{
		pod("unlimited", func(p *v1.Pod) { p.Spec.Volumes = nil }),
		pod("failed", func(p *v1.Pod) { p.Status.Phase = v1.PodFailed }),
		pod("done", func(p *v1.Pod) { p.Status.Phase = v1.PodSucceeded }),
		pod("ending", func(p *v1.Pod) { p.DeletionTimestamp = &now }),
		pod("large", func(*v1.Pod) {}),
	}}
	m := New(Config{Pods: func() []*v1.Pod { return b.pods }, Evictor: b, Runtime: b, Volumes: b, LogDir: t.TempDir(), Clock: clk, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); !clk.HasWaiters(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing waits for the clock")
		}
	}
	clk.Step(Period)
	select {
	case got := <-b.evicted:
		if got != `large Evicted: Usage of EmptyDir volume "x" exceeds the limit "1Mi". ` {
			t.Error(got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no Pod was evicted")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	m.check(t.Context())
	if len(b.evicted) != 0 {
		t.Errorf("evicted again: %s", <-b.evicted)
	}
	b.pods = nil
	m.check(t.Context())
	if len(m.evicted) != 0 {
		t.Errorf("kept: %v", m.evicted)
	}
}

// A panic in the measurement of one Pod is no other Pod's affair.
func TestPanicOfOnePod(t *testing.T) {
	pod := func(name string) *v1.Pod {
		return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: v1.PodSpec{Volumes: []v1.Volume{emptyDir("x", "1Mi", "")}}}
	}
	b := &bench{volumes: map[string]host.Usage{"x": {Bytes: 2 << 20}}, evicted: make(chan string, 10), pods: []*v1.Pod{pod("broken"), pod("large")}}
	var log bytes.Buffer
	m := New(Config{
		Pods: func() []*v1.Pod { return b.pods }, Evictor: b, Runtime: b, Volumes: panicky{b, "broken"},
		LogDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	m.check(t.Context())
	if len(b.evicted) != 1 || !m.evicted["large"] {
		t.Errorf("%d Pods were evicted: %v", len(b.evicted), m.evicted)
	}
	if !strings.Contains(log.String(), "pod=broken") || !strings.Contains(log.String(), "panicky.Usage") {
		t.Errorf("the log has neither the Pod nor the stack: %s", &log)
	}
}

// panicky panics over one Pod's volumes.
type panicky struct {
	*bench
	uid types.UID
}

func (p panicky) Usage(ctx context.Context, pod *v1.Pod) (map[string]host.Usage, error) {
	if pod.UID == p.uid {
		panic("broken")
	}
	return p.bench.Usage(ctx, pod)
}
