package cadvisor

import (
	"context"
	"strings"
	"syscall"
	"time"

	info "github.com/google/cadvisor/info/v1"
	v2 "github.com/google/cadvisor/info/v2"
	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/node/usage"
)

// provider answers cAdvisor's collectors.
type provider struct {
	cfg Config
	ctx context.Context //nolint:containedctx // it lives as long as the request
}

// GetVersionInfo says what the node is; no cAdvisor runs.
func (p *provider) GetVersionInfo() (*info.VersionInfo, error) {
	return &info.VersionInfo{KernelVersion: p.cfg.System.KernelVersion, ContainerOsVersion: p.cfg.System.OSImage}, nil
}

// GetMachineInfo says what the node has.
func (p *provider) GetMachineInfo() (*info.MachineInfo, error) {
	cpu, memory := p.cfg.Capacity[v1.ResourceCPU], p.cfg.Capacity[v1.ResourceMemory]
	cores, sockets := topology()
	return &info.MachineInfo{
		Timestamp: p.cfg.Clock.Now(),
		NumCores:  int(cpu.Value()), NumPhysicalCores: min(cores, int(cpu.Value())), NumSockets: sockets,
		MemoryCapacity: uint64(memory.Value()), SwapCapacity: swapTotal(),
		MachineID: p.cfg.System.MachineID, SystemUUID: p.cfg.System.SystemUUID, BootID: p.cfg.System.BootID,
	}, nil
}

// GetRequestedContainersInfo reads the node, its Pods and their containers.
func (p *provider) GetRequestedContainersInfo(string, v2.RequestOptions) (map[string]*info.ContainerInfo, error) {
	snapshot, err := p.cfg.Usage.Read(p.ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]*info.ContainerInfo{}
	add := func(id string, u usage.Usage, created time.Time) *info.ContainerInfo {
		c := &info.ContainerInfo{ContainerReference: info.ContainerReference{Name: id}}
		c.Spec.CreationTime = created
		c.Stats = []*info.ContainerStats{stats(u)}
		spec(&c.Spec, u)
		out[id] = c
		return c
	}
	root := snapshot.Node.Cgroup.Path
	node := add("/", snapshot.Node, bootTime())
	node.Stats[0].Network.Interfaces = interfaces(p.cfg.Netns.Counters())
	node.Stats[0].Filesystem = p.filesystem()
	for _, pod := range snapshot.Pods {
		labels := map[string]string{labelPod: pod.Name, labelNamespace: pod.Namespace}
		id := idOf(root, pod.Cgroup, "/pod"+pod.UID)
		ofPod := add(id, pod.Usage, pod.Created)
		ofPod.Spec.Labels = labels
		if p.cfg.Interfaces != nil {
			ofPod.Stats[0].Network.Interfaces = interfaces(p.cfg.Interfaces.PodInterfaces(pod.UID))
		}
		for _, c := range pod.Containers {
			one := add(idOf(root, c.Cgroup, id+"/"+c.ID), c.Usage, c.Created)
			one.Aliases, one.Spec.Image = []string{c.ID}, c.Image
			one.Spec.Labels = map[string]string{labelPod: pod.Name, labelNamespace: pod.Namespace, labelContainer: c.Name}
			one.Stats[0].Processes = processes(c.Cgroup)
			addProcesses(&ofPod.Stats[0].Processes, one.Stats[0].Processes)
			addProcesses(&node.Stats[0].Processes, one.Stats[0].Processes)
		}
	}
	return out, nil
}

// idOf is a cgroup's path below the node's.
func idOf(root string, cg host.Cgroup, otherwise string) string {
	if below, ok := strings.CutPrefix(cg.Path, root+"/"); ok && root != "" {
		return "/" + below
	}
	return otherwise
}

// stats are the figures of one cgroup.
func stats(u usage.Usage) *info.ContainerStats {
	s := &info.ContainerStats{Timestamp: u.At}
	if c := u.CPU; c != nil {
		s.Cpu.Usage.Total, s.Cpu.Usage.User, s.Cpu.Usage.System = uint64(c.Total), uint64(c.User), uint64(c.System)
		s.Cpu.CFS = info.CpuCFS{Periods: c.Periods, ThrottledPeriods: c.Throttled, ThrottledTime: uint64(c.ThrottledTime)}
	}
	if m := u.Memory; m != nil {
		faults := info.MemoryStatsMemoryData{Pgfault: m.PageFaults, Pgmajfault: m.MajorPageFaults}
		s.Memory = info.MemoryStats{
			Usage: m.Usage, MaxUsage: m.Peak, Cache: m.Cache, RSS: m.RSS, Swap: m.Swap, MappedFile: m.Mapped, WorkingSet: m.WorkingSet,
			TotalActiveFile: m.ActiveFile, TotalInactiveFile: m.InactiveFile, Failcnt: m.Failures, KernelUsage: m.Kernel,
			ContainerData: faults, HierarchicalData: faults,
		}
	}
	if u.Cgroup.Path == "" {
		return s
	}
	s.OOMEvents, _ = u.Cgroup.OOMKills()
	devices, _ := u.Cgroup.IO()
	for _, d := range devices {
		name := d.Name()
		if name == "" {
			continue
		}
		disk := func(read, write uint64) info.PerDiskStats {
			return info.PerDiskStats{Device: "/dev/" + name, Major: d.Major, Minor: d.Minor, Stats: map[string]uint64{"Read": read, "Write": write}}
		}
		s.DiskIo.IoServiceBytes = append(s.DiskIo.IoServiceBytes, disk(d.ReadBytes, d.WriteBytes))
		s.DiskIo.IoServiced = append(s.DiskIo.IoServiced, disk(d.Reads, d.Writes))
	}
	return s
}

// spec are the limits of one cgroup.
func spec(s *info.ContainerSpec, u usage.Usage) {
	if m := u.Memory; m != nil {
		s.HasMemory = true
		s.Memory.Limit = m.Limit
		if m.SwapLimit > 0 {
			s.Memory.SwapLimit = m.Limit + m.SwapLimit
		}
	}
	if u.Cgroup.Path == "" {
		return
	}
	if share, err := u.Cgroup.Share(); err == nil {
		s.HasCpu = true
		s.Cpu = info.CpuSpec{Limit: share.Shares, Quota: uint64(share.Quota.Microseconds()), Period: uint64(share.Period.Microseconds())}
	}
}

func interfaces(links []host.LinkCounters, err error) []info.InterfaceStats {
	if err != nil {
		return nil // the Pod has just ended
	}
	var out []info.InterfaceStats
	for _, l := range links {
		out = append(out, info.InterfaceStats{
			Name:    l.Name,
			RxBytes: l.RxBytes, RxPackets: l.RxPackets, RxErrors: l.RxErrors, RxDropped: l.RxDropped,
			TxBytes: l.TxBytes, TxPackets: l.TxPackets, TxErrors: l.TxErrors, TxDropped: l.TxDropped,
		})
	}
	return out
}

// filesystem is the one that the node's containers and volumes are on.
func (p *provider) filesystem() []info.FsStats {
	var fs syscall.Statfs_t
	if p.cfg.Dir == "" || syscall.Statfs(p.cfg.Dir, &fs) != nil {
		return nil
	}
	size := uint64(fs.Bsize)
	return []info.FsStats{{
		Device: device(p.cfg.Dir), Limit: fs.Blocks * size, Usage: (fs.Blocks - fs.Bfree) * size, Available: fs.Bavail * size,
		HasInodes: true, Inodes: fs.Files, InodesFree: fs.Ffree,
	}}
}
