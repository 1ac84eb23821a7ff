package usage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/node/spec"
)

// fakeRuntime has containers that run and, maybe, their statistics.
type fakeRuntime struct {
	containers []*runtimeapi.Container
	stats      []*runtimeapi.ContainerStats
	err        error
}

func (f *fakeRuntime) ListPodSandbox(context.Context, *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	return []*runtimeapi.PodSandbox{{Metadata: &runtimeapi.PodSandboxMetadata{Uid: "u1"}, CreatedAt: 5e9}}, nil
}

func (f *fakeRuntime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	if filter.GetState().GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, errors.New("containers that don't run are asked for")
	}
	return f.containers, f.err
}

func (f *fakeRuntime) ListContainerStats(context.Context, *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	return f.stats, f.err
}

// add adds a container that has used so many seconds, without statistics if it is
// none.
func (f *fakeRuntime) add(id, pod, uid, name string, seconds uint64) {
	f.containers = append(f.containers, &runtimeapi.Container{Id: id, CreatedAt: int64(len(f.containers)) * 1e9, Labels: map[string]string{
		spec.LabelPodNamespace: "default", spec.LabelPodName: pod, spec.LabelPodUID: uid, spec.LabelContainerName: name,
	}})
	if seconds == 0 {
		return
	}
	f.stats = append(f.stats, &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: id},
		Cpu:        &runtimeapi.CpuUsage{Timestamp: 7e9, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: seconds * 1e9}},
		Memory:     &runtimeapi.MemoryUsage{WorkingSetBytes: &runtimeapi.UInt64Value{Value: seconds * 100}},
	})
}

// TestStatisticsOfTheRuntime is of a runtime that does not tell its cgroups.
func TestStatisticsOfTheRuntime(t *testing.T) {
	f := &fakeRuntime{}
	f.add("c", "web", "u1", "side", 3)
	f.add("b", "web", "u1", "main", 2)
	f.add("a", "api", "u2", "main", 1)
	f.add("d", "late", "u3", "main", 0)
	s, err := New(Config{Runtime: f}).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Pods) != 2 || s.Pods[0].Name != "api" || s.Pods[1].Name != "web" {
		t.Fatalf("Pods %+v", s.Pods)
	}
	web := s.Pods[1]
	if web.CPU.Total != 5*time.Second || web.Memory.WorkingSet != 500 || !web.Created.Equal(time.Unix(5, 0)) {
		t.Errorf("Pod web %+v", web.Usage)
	}
	if len(web.Containers) != 2 || web.Containers[0].Name != "main" || web.Containers[0].CPU.Total != 2*time.Second || !web.Containers[0].At.Equal(time.Unix(7, 0)) {
		t.Errorf("containers of web %+v", web.Containers)
	}
}

func TestRuntimeThatFails(t *testing.T) {
	if s, err := New(Config{Runtime: &fakeRuntime{err: errors.New("no connection")}}).Read(t.Context()); err == nil {
		t.Errorf("read %+v", s)
	}
}

// TestNodeOnWhichNothingRan: it has used nothing, which is known.
func TestNodeOnWhichNothingRan(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpu memory\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Runtime: &fakeRuntime{}, Node: host.Cgroup{Root: root, Path: "none"}}).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Node.CPU == nil || s.Node.CPU.Total != 0 || s.Node.Memory == nil || s.Node.Memory.WorkingSet != 0 {
		t.Errorf("the node uses %+v, want nothing", s.Node)
	}
}
