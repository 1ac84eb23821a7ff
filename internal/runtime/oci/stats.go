package oci

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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

func (r *Runtime) cpuUsage(cg host.Cgroup, now int64) *runtimeapi.CpuUsage {
	out := &runtimeapi.CpuUsage{Timestamp: now}
	if n, ok := r.readNumber(cg, "cpuacct.usage"); ok {
		out.UsageCoreNanoSeconds = value(n)
	} else if stat := r.readKeyed(cg, "cpu.stat"); stat != nil {
		out.UsageCoreNanoSeconds = value(stat["usage_usec"] * 1000)
	}
	return out
}

func (r *Runtime) memoryUsage(cg host.Cgroup, now int64) *runtimeapi.MemoryUsage {
	out := &runtimeapi.MemoryUsage{Timestamp: now}
	usage, ok := r.readNumber(cg, "memory.current", "memory.usage_in_bytes")
	if !ok {
		return out
	}
	stat := r.readKeyed(cg, "memory.stat")
	// Version 1 counts children only under names of their own.
	get := func(names ...string) uint64 {
		for _, name := range names {
			if n, ok := stat[name]; ok {
				return n
			}
		}
		return 0
	}
	inactive := get("total_inactive_file", "inactive_file")
	out.UsageBytes = value(usage)
	out.WorkingSetBytes = value(usage - min(usage, inactive))
	out.RssBytes = value(get("total_rss", "anon"))
	out.PageFaults = value(get("total_pgfault", "pgfault"))
	out.MajorPageFaults = value(get("total_pgmajfault", "pgmajfault"))
	limit, ok := r.readNumber(cg, "memory.max", "memory.limit_in_bytes")
	if ok && limit < 1<<60 { // version 1 says "none" with a huge number
		out.AvailableBytes = value(limit - min(limit, out.WorkingSetBytes.Value))
	}
	return out
}

func value(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }

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
		out.Cpu, out.Memory = r.cpuUsage(r.cgroupOf(c), now), r.memoryUsage(r.cgroupOf(c), now)
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
		Cpu: r.cpuUsage(cg, now), Memory: r.memoryUsage(cg, now), Network: sb.networkUsage(now),
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
	h, err := sb.netns().Handle()
	if err != nil {
		return nil
	}
	defer h.Close()
	links, err := host.ListLinks(h)
	if err != nil {
		return nil
	}
	out := &runtimeapi.NetworkUsage{Timestamp: now}
	for _, link := range links {
		a := link.Attrs()
		if a.Name == "lo" || a.Statistics == nil {
			continue
		}
		usage := &runtimeapi.NetworkInterfaceUsage{
			Name: a.Name, RxBytes: value(a.Statistics.RxBytes), TxBytes: value(a.Statistics.TxBytes),
			RxErrors: value(a.Statistics.RxErrors), TxErrors: value(a.Statistics.TxErrors),
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
