package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"minato/internal/host"
)

// fakeCgroups are directories of files as cgroup2 has them, without a kernel.
type fakeCgroups struct{ root string }

func newFakeCgroups(t *testing.T) fakeCgroups {
	f := fakeCgroups{t.TempDir()}
	f.write(t, ".", map[string]string{"cgroup.controllers": "cpu memory pids"})
	f.write(t, "node", cgroupFiles("9000000", "8192"))
	return f
}

// cgroupFiles are the files of a cgroup with that CPU time, in microseconds, and memory.
func cgroupFiles(cpu, memory string) map[string]string {
	return map[string]string{
		"cpu.stat":       "usage_usec " + cpu + "\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 250000\n",
		"memory.current": memory, "memory.stat": "anon 1024\nfile 2048\ninactive_file 96\npgfault 7\npgmajfault 3\n", "memory.max": "65536",
		"memory.swap.current": "12", "memory.swap.max": "4096", "memory.events": "oom_kill 1\n",
		"cpu.weight": "100", "cpu.max": "50000 100000", "pids.current": "6", "pids.max": "100", "cgroup.procs": "",
	}
}

func (f fakeCgroups) write(t *testing.T, path string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(f.root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (f fakeCgroups) node() host.Cgroup                { return host.Cgroup{Path: "node", Root: f.root} }
func (f fakeCgroups) PodCgroup(uid string) host.Cgroup { return f.node().Child("pod" + uid) }
func (f fakeCgroups) ContainerCgroup(string) (host.Cgroup, error) {
	return f.node().Child("container"), nil
}

func TestResourceMetricsOfCgroups(t *testing.T) {
	cgroups := newFakeCgroups(t)
	cgroups.write(t, "node/podu", cgroupFiles("5000000", "4096"))
	cgroups.write(t, "node/container", cgroupFiles("4500000", "3072"))
	b := newBench(t, func(c *Config) { c.Cgroups, c.Cgroup = cgroups, cgroups.node() })
	_, body := b.request("GET", "/metrics/resource", "viewer")
	for _, want := range []string{
		`node_cpu_usage_seconds_total 9 \d{13}`,
		`node_memory_working_set_bytes 8096 \d{13}`,
		`pod_cpu_usage_seconds_total{namespace="default",pod="web"} 5 \d{13}`,
		`pod_memory_working_set_bytes{namespace="default",pod="web"} 4000 \d{13}`,
		`pod_swap_usage_bytes{namespace="default",pod="web"} 12 \d{13}`,
		`container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 4.5 \d{13}`,
		`container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 2976 \d{13}`,
		`container_swap_limit_bytes{container="main",namespace="default",pod="web"} 4096 \d{13}`,
		`container_start_time_seconds{container="main",namespace="default",pod="web"} \d`,
		`resource_scrape_error 0`,
	} {
		if series, value, _ := cutSeries(want); !match(body, series, value) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}

	// Of a container that is gone, nothing is told.
	if err := os.RemoveAll(filepath.Join(cgroups.root, "node/container")); err != nil {
		t.Fatal(err)
	}
	if _, body := b.request("GET", "/metrics/resource", "viewer"); strings.Contains(body, "\ncontainer_cpu") || strings.Contains(body, "\npod_cpu") {
		t.Errorf("figures of a container that is gone:\n%s", body)
	}
}

// match tells whether a line of body is a series with a value that matches.
func match(body, series, value string) bool {
	return regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + " " + value).MatchString(body)
}
