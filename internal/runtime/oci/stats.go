package oci

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// readControl reads a file of a cgroup: of cgroup2, or on other machines of
// the version 1 hierarchy that has it. It tries several names in turn, since
// the versions call them differently.
func (r *Runtime) readControl(cg host.Cgroup, names ...string) ([]byte, error) {
	roots := append([]string{r.layout.V2Root}, r.layout.V1...)
	err := fs.ErrNotExist
	for _, name := range names {
		for _, root := range roots {
			data, rerr := os.ReadFile(filepath.Join(root, cg.Path, name))
			if rerr == nil {
				return data, nil
			}
			if !errors.Is(rerr, fs.ErrNotExist) {
				err = rerr
			}
		}
	}
	return nil, err
}

func (r *Runtime) readNumber(cg host.Cgroup, names ...string) (uint64, bool) {
	data, err := r.readControl(cg, names...)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 64)
	return n, err == nil // "max" is no number
}

// readKeyed reads a file of "key value" lines.
func (r *Runtime) readKeyed(cg host.Cgroup, names ...string) map[string]uint64 {
	data, err := r.readControl(cg, names...)
	if err != nil {
		return nil
	}
	out := map[string]uint64{}
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		key, value, _ := strings.Cut(sc.Text(), " ")
		if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64); err == nil {
			out[key] = n
		}
	}
	return out
}

// oomKilled tells whether the kernel has killed a process of the container for
// its memory limit. The cgroup keeps the count until it is deleted.
func (r *Runtime) oomKilled(c *container) bool {
	return r.readKeyed(r.cgroupOf(c), "memory.events", "memory.oom_control")["oom_kill"] > 0
}

func cpuUsage(cg host.Cgroup, now int64) *runtimeapi.CpuUsage {
	out := &runtimeapi.CpuUsage{Timestamp: now}
	if u, err := cg.CPU(); err == nil {
		out.UsageCoreNanoSeconds = value(uint64(u.Total))
	}
	return out
}

func memoryUsage(cg host.Cgroup, now int64) *runtimeapi.MemoryUsage {
	out := &runtimeapi.MemoryUsage{Timestamp: now}
	u, err := cg.Memory()
	if err != nil {
		return out
	}
	out.UsageBytes, out.WorkingSetBytes, out.RssBytes = value(u.Usage), value(u.WorkingSet), value(u.RSS)
	out.PageFaults, out.MajorPageFaults = value(u.PageFaults), value(u.MajorPageFaults)
	if u.Limit > 0 {
		out.AvailableBytes = value(u.Limit - min(u.Limit, u.WorkingSet))
	}
	return out
}

func value(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }

// ContainerCgroup is where a container's processes are counted.
func (r *Runtime) ContainerCgroup(id string) (host.Cgroup, error) {
	c, err := r.container(id)
	if err != nil {
		return host.Cgroup{}, err
	}
	return r.cgroupOf(c), nil
}

// PodCgroup is where the processes of all containers of a Pod are counted.
func (r *Runtime) PodCgroup(uid string) host.Cgroup { return r.podCgroup(uid) }

// PodInterfaces counts what has passed the interfaces of a Pod's own network; a
// Pod on the node's network has none.
func (r *Runtime) PodInterfaces(uid string) ([]host.LinkCounters, error) {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.sandboxes))
	r.mu.Unlock()
	for _, sb := range all {
		if sb.snapshot().Ready && sb.info().UID == uid && !sb.hostNetwork() {
			return sb.netns().Counters()
		}
	}
	return nil, nil
}

// ContainerStats implements CRI.
func (r *Runtime) ContainerStats(ctx context.Context, id string) (*runtimeapi.ContainerStats, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	return r.stats(ctx, c), nil
}

func (r *Runtime) stats(ctx context.Context, c *container) *runtimeapi.ContainerStats {
	now := time.Now().UnixNano()
	cfg := c.state.Config
	out := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{
			Id: c.state.ID, Metadata: cfg.GetMetadata(), Labels: cfg.GetLabels(), Annotations: cfg.GetAnnotations(),
		},
		WritableLayer: c.writableLayer(ctx),
	}
	if c.snapshot().Phase == phaseRunning {
		out.Cpu, out.Memory = cpuUsage(r.cgroupOf(c), now), memoryUsage(r.cgroupOf(c), now)
	}
	return out
}

// ListContainerStats implements CRI.
func (r *Runtime) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	var out []*runtimeapi.ContainerStats
	for _, c := range r.allContainers() {
		s := c.snapshot()
		if s.Phase != phaseRunning || filter.GetId() != "" && filter.GetId() != s.ID ||
			filter.GetPodSandboxId() != "" && filter.GetPodSandboxId() != s.SandboxID ||
			!matches(filter.GetLabelSelector(), s.Config.GetLabels()) {
			continue
		}
		out = append(out, r.stats(ctx, c))
	}
	return out, nil
}

// PodSandboxStats implements CRI.
func (r *Runtime) PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	sb, err := r.sandbox(id)
	if err != nil {
		return nil, err
	}
	return r.sandboxStats(ctx, sb), nil
}

func (r *Runtime) sandboxStats(ctx context.Context, sb *sandbox) *runtimeapi.PodSandboxStats {
	now := time.Now().UnixNano()
	cg := r.podCgroup(sb.info().UID)
	linux := &runtimeapi.LinuxPodSandboxStats{
		Cpu: cpuUsage(cg, now), Memory: memoryUsage(cg, now), Network: sb.networkUsage(now),
		Process: &runtimeapi.ProcessUsage{Timestamp: now},
	}
	if pids, err := cg.Procs(); err == nil {
		linux.Process.ProcessCount = value(uint64(len(pids)))
	}
	for _, c := range r.containersOf(sb.state.ID) {
		if c.snapshot().Phase == phaseRunning {
			linux.Containers = append(linux.Containers, r.stats(ctx, c))
		}
	}
	cfg := sb.state.Config
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: sb.state.ID, Metadata: cfg.GetMetadata(), Labels: cfg.GetLabels(), Annotations: cfg.GetAnnotations(),
		},
		Linux: linux,
	}
}

// networkUsage counts the pod's own interfaces; a pod on the host's network
// has none.
func (sb *sandbox) networkUsage(now int64) *runtimeapi.NetworkUsage {
	if sb.hostNetwork() {
		return nil
	}
	links, err := sb.netns().Counters()
	if err != nil {
		return nil
	}
	out := &runtimeapi.NetworkUsage{Timestamp: now}
	for _, l := range links {
		usage := &runtimeapi.NetworkInterfaceUsage{
			Name: l.Name, RxBytes: value(l.RxBytes), TxBytes: value(l.TxBytes), RxErrors: value(l.RxErrors), TxErrors: value(l.TxErrors),
		}
		if out.DefaultInterface == nil {
			out.DefaultInterface = usage
		} else {
			out.Interfaces = append(out.Interfaces, usage)
		}
	}
	return out
}

// ListPodSandboxStats implements CRI.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	r.mu.Lock()
	all := make([]*sandbox, 0, len(r.sandboxes))
	for _, sb := range r.sandboxes {
		all = append(all, sb)
	}
	r.mu.Unlock()
	var out []*runtimeapi.PodSandboxStats
	for _, sb := range all {
		if s := sb.snapshot(); s.Ready && (filter.GetId() == "" || filter.GetId() == s.ID) && matches(filter.GetLabelSelector(), s.Config.GetLabels()) {
			out = append(out, r.sandboxStats(ctx, sb))
		}
	}
	return out, nil
}

// ListMetricDescriptors implements CRI: there are none beside the statistics.
func (r *Runtime) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics implements CRI: there are none beside the statistics.
func (r *Runtime) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}
