package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"minato/internal/host"
	"minato/internal/node/volume"
)

// fakeInterfaces are those of every Pod.
type fakeInterfaces struct{}

func (fakeInterfaces) PodInterfaces(string) ([]host.LinkCounters, error) {
	return []host.LinkCounters{{Name: "eth0", RxBytes: 10, RxPackets: 1, TxBytes: 20, TxPackets: 2, TxDropped: 3, RxErrors: 4}}, nil
}

// fakeImages take a hundred bytes.
type fakeImages struct{}

func (fakeImages) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{{UsedBytes: &runtimeapi.UInt64Value{Value: 100}}}}, nil
}

type fakeVolumes struct{ asked int }

func (f *fakeVolumes) Stats(context.Context, *v1.Pod) []volume.Stats {
	f.asked++
	return []volume.Stats{
		{Name: "scratch", OnDisk: true, Used: 100, InodesUsed: 1, Capacity: 1000, Available: 500, Inodes: 50, InodesFree: 40},
		{Name: "data", Claim: "db", Used: 700, InodesUsed: 3, Capacity: 1000, Available: 300, Inodes: 50, InodesFree: 47},
	}
}

// measured is a server with cgroups.
func measured(t *testing.T) (*bench, *fakeVolumes) {
	cgroups, volumes := newFakeCgroups(t), &fakeVolumes{}
	cgroups.write(t, "node/podu", cgroupFiles("5000000", "4096"))
	cgroups.write(t, "node/container", cgroupFiles("4500000", "3072"))
	return newBench(t, func(c *Config) {
		c.Cgroups, c.Cgroup, c.Interfaces, c.Volumes, c.Images, c.Dir = cgroups, cgroups.node(), fakeInterfaces{}, volumes, fakeImages{}, cgroups.root
		c.Capacity = v1.ResourceList{v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("1Gi")}
		c.System = v1.NodeSystemInfo{MachineID: "m", SystemUUID: "s", BootID: "b", KernelVersion: "6.1", OSImage: "Some OS"}
	}), volumes
}

func TestCadvisorMetrics(t *testing.T) {
	b, _ := measured(t)
	_, body := b.request("GET", "/metrics/cadvisor", "viewer")
	const (
		node      = `container="",id="/",image="",name="",namespace="",pod=""`
		pod       = `container="",id="/podu",image="",name="",namespace="default",pod="web"`
		container = `container="main",id="/container",image="",name="c3",namespace="default",pod="web"`
	)
	with := func(labels, after, more string) string {
		return strings.Replace(labels, after, after+","+more, 1)
	}
	for _, want := range []string{
		`container_cpu_usage_seconds_total{` + with(node, `container=""`, `cpu="total"`) + `} 9 \d{13}`,
		`container_cpu_usage_seconds_total{` + with(pod, `container=""`, `cpu="total"`) + `} 5 \d{13}`,
		`container_cpu_usage_seconds_total{` + with(container, `container="main"`, `cpu="total"`) + `} 4.5 \d{13}`,
		`container_cpu_user_seconds_total{` + container + `} 1 \d{13}`,
		`container_cpu_cfs_throttled_periods_total{` + container + `} 2 \d{13}`,
		`container_cpu_cfs_throttled_seconds_total{` + container + `} 0.25 \d{13}`,
		`container_spec_cpu_quota{` + container + `} 50000$`,
		`container_spec_cpu_period{` + container + `} 100000$`,
		`container_spec_cpu_shares{` + container + `} 2597$`,
		`container_spec_memory_limit_bytes{` + container + `} 65536$`,
		`container_memory_usage_bytes{` + container + `} 3072 \d{13}`,
		`container_memory_working_set_bytes{` + container + `} 2976 \d{13}`,
		`container_memory_rss{` + container + `} 1024 \d{13}`,
		`container_memory_cache{` + container + `} 2048 \d{13}`,
		`container_oom_events_total{` + container + `} 1 \d{13}`,
		`container_threads{` + container + `} 6 \d{13}`,
		`container_threads_max{` + container + `} 100 \d{13}`,
		`container_processes{` + container + `} 0 \d{13}`,
		`container_start_time_seconds{` + container + `} \d`,
		`container_last_seen{` + container + `} \d`,
		`container_network_receive_bytes_total{` + with(pod, `image=""`, `interface="eth0"`) + `} 10 \d{13}`,
		`container_network_transmit_packets_dropped_total{` + with(pod, `image=""`, `interface="eth0"`) + `} 3 \d{13}`,
		`container_scrape_error 0$`,
		`machine_cpu_cores{boot_id="b",machine_id="m",system_uuid="s"} 2 \d{13}`,
		`machine_memory_bytes{boot_id="b",machine_id="m",system_uuid="s"} 1.073741824e\+09 \d{13}`,
		`cadvisor_version_info{cadvisorRevision="",cadvisorVersion="",dockerVersion="",kernelVersion="6.1",osVersion="Some OS"} 1$`,
	} {
		if series, value, _ := cutSeries(want); !match(body, series, value) {
			t.Errorf("no %s in\n%s", want, about(body, series))
		}
	}
	for _, wanted := range []string{"container_fs_limit_bytes{", "container_fs_usage_bytes{", "container_fs_inodes_free{"} {
		if !strings.Contains(body, "\n"+wanted) {
			t.Errorf("no %s", wanted)
		}
	}
}

// cutSeries separates a series from the pattern of its value.
func cutSeries(want string) (series, value string, ok bool) {
	if i := strings.LastIndex(want, "} "); i >= 0 {
		return want[:i+1], want[i+2:], true
	}
	return strings.Cut(want, " ")
}

// about are the lines of a metric.
func about(body, series string) string {
	name, _, _ := strings.Cut(series, "{")
	var out []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, name) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestSummary(t *testing.T) {
	b, volumes := measured(t)
	get := func(query string) (s stats.Summary) {
		status, body := b.request("GET", "/stats/summary"+query, "admin")
		if err := json.Unmarshal([]byte(body), &s); status != 200 || err != nil {
			t.Fatalf("%d %v %s", status, err, body)
		}
		return s
	}
	brief := get("?only_cpu_and_memory=true")
	if brief.Node.Fs != nil || brief.Node.Network != nil || brief.Pods[0].VolumeStats != nil || volumes.asked != 0 {
		t.Errorf("more than CPU and memory: %+v", brief)
	}
	s := get("")
	n, p := s.Node, s.Pods[0]
	if n.NodeName != "node-1" || *n.CPU.UsageCoreNanoSeconds != 9e9 || *n.Memory.WorkingSetBytes != 8096 || *n.Memory.AvailableBytes != 1<<30-8096 {
		t.Errorf("node %+v", n)
	}
	if n.Fs == nil || *n.Fs.CapacityBytes == 0 || *n.Fs.UsedBytes == 0 || n.Runtime == nil || *n.Runtime.ImageFs.UsedBytes != 100 || n.Rlimit == nil || *n.Rlimit.MaxPID == 0 {
		t.Errorf("node's disk and processes %+v", n)
	}
	if len(n.SystemContainers) != 1 || n.SystemContainers[0].Name != stats.SystemContainerPods {
		t.Errorf("system containers %+v", n.SystemContainers)
	}
	if p.PodRef.UID != "u" || *p.CPU.UsageCoreNanoSeconds != 5e9 || *p.Swap.SwapUsageBytes != 12 || *p.Network.RxBytes != 10 || p.StartTime.IsZero() {
		t.Errorf("Pod %+v", p)
	}
	if c := p.Containers[0]; c.Name != "main" || *c.Memory.RSSBytes != 1024 || *c.Memory.AvailableBytes != 65536-2976 || c.Logs == nil || *c.Logs.UsedBytes == 0 {
		t.Errorf("container %+v", c)
	}
	if len(p.VolumeStats) != 2 || p.VolumeStats[1].PVCRef == nil || p.VolumeStats[1].PVCRef.Name != "db" || *p.VolumeStats[1].UsedBytes != 700 {
		t.Errorf("volumes %+v", p.VolumeStats)
	}
	// The claim does not count, and neither does a container that does not run.
	if used, logs := *p.EphemeralStorage.UsedBytes, *p.Containers[0].Logs.UsedBytes; used != 100+logs {
		t.Errorf("ephemeral storage %d, of which %d are logs", used, logs)
	}
	get("")
	if volumes.asked != 1 {
		t.Errorf("the disk was measured %d times within a minute", volumes.asked)
	}
	if status, _ := b.request("GET", "/stats/summary?only_cpu_and_memory=perhaps", "admin"); status != 400 {
		t.Errorf("a wrong parameter: %d", status)
	}
}
