package api

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"minato/internal/host"
	"minato/internal/node/usage"
	"minato/internal/node/volume"
)

// Volumes measures what the volumes of Pods take.
type Volumes interface {
	Stats(ctx context.Context, pod *v1.Pod) []volume.Stats
}

// Interfaces counts what has passed the interfaces of Pods.
type Interfaces interface {
	PodInterfaces(uid string) ([]host.LinkCounters, error)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// summary answers with what the node, its Pods, their containers and volumes use
// (kubelet/pkg/apis/stats/v1alpha1). With only_cpu_and_memory no disk is looked at.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	brief := false
	if text := r.FormValue("only_cpu_and_memory"); text != "" {
		var err error
		if brief, err = strconv.ParseBool(text); err != nil {
			http.Error(w, "only_cpu_and_memory must be true or false", http.StatusBadRequest)
			return
		}
	}
	snapshot, err := s.usage.Read(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	s.cores.next(snapshot)
	out := stats.Summary{Node: s.nodeStats(snapshot), Pods: []stats.PodStats{}}
	for i := range snapshot.Pods {
		out.Pods = append(out.Pods, s.podStats(&snapshot.Pods[i]))
	}
	if !brief {
		s.addNetworks(&out)
		if err := s.disks.add(r.Context(), &out); err != nil {
			fail(w, err)
			return
		}
	}
	writeJSON(w, out)
}

func (s *Server) nodeStats(snapshot *usage.Snapshot) stats.NodeStats {
	u := snapshot.Node
	n := stats.NodeStats{NodeName: s.cfg.NodeName, StartTime: metav1.NewTime(bootTime())}
	n.CPU, n.Memory, n.Swap = s.cpuStats("", u), memoryStats(u), swapStats(u)
	memory := s.cfg.Capacity[v1.ResourceMemory]
	if all := uint64(memory.Value()); n.Memory != nil && all > 0 {
		available := all - min(all, *n.Memory.WorkingSetBytes)
		n.Memory.AvailableBytes = &available
	}
	// What a node's cgroup holds are its Pods. Its agent and its container runtime
	// are a part of a process that all nodes share.
	n.SystemContainers = []stats.ContainerStats{{
		Name: stats.SystemContainerPods, StartTime: n.StartTime, CPU: n.CPU, Memory: n.Memory, Swap: n.Swap,
	}}
	n.Rlimit = rlimit(u.At)
	return n
}

func (s *Server) podStats(p *usage.Pod) stats.PodStats {
	out := stats.PodStats{
		PodRef:    stats.PodReference{Name: p.Name, Namespace: p.Namespace, UID: p.UID},
		StartTime: metav1.NewTime(p.Created), Containers: []stats.ContainerStats{},
		CPU: s.cpuStats("pod "+p.UID, p.Usage), Memory: memoryStats(p.Usage), Swap: swapStats(p.Usage),
	}
	for _, c := range lastOfEachName(p.Containers) {
		out.Containers = append(out.Containers, stats.ContainerStats{
			Name: c.Name, StartTime: metav1.NewTime(c.Created),
			CPU: s.cpuStats(c.ID, c.Usage), Memory: memoryStats(c.Usage), Swap: swapStats(c.Usage),
		})
	}
	if p.Cgroup.Path != "" {
		if pids, err := p.Cgroup.Procs(); err == nil {
			n := uint64(len(pids))
			out.ProcessStats = &stats.ProcessStats{ProcessCount: &n}
		}
	}
	return out
}

func (s *Server) cpuStats(key string, u usage.Usage) *stats.CPUStats {
	if u.CPU == nil {
		return nil
	}
	total := uint64(u.CPU.Total)
	return &stats.CPUStats{Time: metav1.NewTime(u.At), UsageCoreNanoSeconds: &total, UsageNanoCores: s.cores.rate(key)}
}

func memoryStats(u usage.Usage) *stats.MemoryStats {
	m := u.Memory
	if m == nil {
		return nil
	}
	out := &stats.MemoryStats{
		Time: metav1.NewTime(u.At), UsageBytes: &m.Usage, WorkingSetBytes: &m.WorkingSet, RSSBytes: &m.RSS,
		PageFaults: &m.PageFaults, MajorPageFaults: &m.MajorPageFaults,
	}
	if m.Limit > 0 {
		available := m.Limit - min(m.Limit, m.WorkingSet)
		out.AvailableBytes = &available
	}
	return out
}

func swapStats(u usage.Usage) *stats.SwapStats {
	m := u.Memory
	if m == nil {
		return nil
	}
	out := &stats.SwapStats{Time: metav1.NewTime(u.At), SwapUsageBytes: &m.Swap}
	if m.SwapLimit > 0 {
		available := m.SwapLimit - min(m.SwapLimit, m.Swap)
		out.SwapAvailableBytes = &available
	}
	return out
}

// addNetworks adds what has passed the interfaces of the node and of its Pods.
func (s *Server) addNetworks(out *stats.Summary) {
	out.Node.Network = networkStats(s.cfg.Clock.Now(), s.cfg.Netns.Counters)
	if s.cfg.Interfaces == nil {
		return
	}
	for i := range out.Pods {
		p := &out.Pods[i]
		p.Network = networkStats(s.cfg.Clock.Now(), func() ([]host.LinkCounters, error) { return s.cfg.Interfaces.PodInterfaces(p.PodRef.UID) })
	}
}

// networkStats are of an interface named eth0, which nodes and Pods have, and of
// all of them.
func networkStats(now time.Time, count func() ([]host.LinkCounters, error)) *stats.NetworkStats {
	links, err := count()
	if err != nil || len(links) == 0 {
		return nil // gone, or on the node's network
	}
	out := &stats.NetworkStats{Time: metav1.NewTime(now)}
	for _, l := range links {
		one := stats.InterfaceStats{Name: l.Name, RxBytes: &l.RxBytes, RxErrors: &l.RxErrors, TxBytes: &l.TxBytes, TxErrors: &l.TxErrors}
		out.Interfaces = append(out.Interfaces, one)
		if l.Name == "eth0" {
			out.InterfaceStats = one
		}
	}
	return out
}

// rlimit is of the machine's processes, which its nodes share.
func rlimit(now time.Time) *stats.RlimitStats {
	running, limit, err := host.MachineTasks()
	if err != nil {
		return nil
	}
	return &stats.RlimitStats{Time: metav1.NewTime(now), MaxPID: &limit, NumOfRunningProcesses: &running}
}

// bootTime is when the machine was started, to the second.
func bootTime() time.Time {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(info.Uptime) * time.Second).Truncate(time.Second)
}

// coreRates makes rates of two summaries in a row.
type coreRates struct {
	mu    sync.Mutex
	last  map[string]usage.Usage
	rates map[string]uint64
}

// next takes the place of the last snapshot, unless that is hardly older: two who
// ask at once get the same rates.
func (c *coreRates) next(snapshot *usage.Snapshot) {
	const least = 100 * time.Millisecond
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.last[""]; ok && snapshot.Node.At.Sub(before.At) < least {
		return
	}
	now := map[string]usage.Usage{"": snapshot.Node}
	for _, p := range snapshot.Pods {
		now["pod "+p.UID] = p.Usage
		for _, container := range p.Containers {
			now[container.ID] = container.Usage
		}
	}
	c.rates = map[string]uint64{}
	for key, u := range now {
		before, ok := c.last[key]
		if ok && u.CPU != nil && before.CPU != nil && u.CPU.Total >= before.CPU.Total && u.At.After(before.At) {
			c.rates[key] = uint64(float64(u.CPU.Total-before.CPU.Total) / u.At.Sub(before.At).Seconds())
		}
	}
	c.last = now
}

// rate is in billionths of a core; nil for what was seen once.
func (c *coreRates) rate(key string) *uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.rates[key]; ok {
		return &r
	}
	return nil
}
