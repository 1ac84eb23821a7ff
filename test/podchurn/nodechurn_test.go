package podchurn

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// churned is the cluster of the tests of nodes and of starts.
const churned = "nodechurn"

// ranges are those of its cluster, which nobody else has.
func ranges() []string {
	return []string{"--lan-cidr", "172.24.0.0/16", "--pod-cidr", "10.124.0.0/16", "--service-cidr", "10.224.0.0/16", "--api-port", "6524"}
}

// minatoOf returns how to run the program, or skips the test.
func minatoOf(t *testing.T, target string) func(args ...string) []byte {
	t.Helper()
	minato := os.Getenv("MINATO")
	if minato == "" || os.Getuid() != 0 {
		t.Skipf("needs root and MINATO (the binary); `make %s` sets it", target)
	}
	return func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command(minato, append(args, "--name", churned)...).CombinedOutput()
		if err != nil {
			t.Fatalf("minato %v: %v\n%s", args, err, out)
		}
		return out
	}
}

// oneNode starts a cluster of one node, which the end of the test deletes. qps is client-go's bound of requests, -1 for
// none and 0 for its default.
func oneNode(t *testing.T, minato func(args ...string) []byte, qps float32) kubernetes.Interface {
	t.Helper()
	minato("delete", "--ignore-not-found")
	t.Cleanup(func() { minato("delete") })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	minato(append([]string{"up", "--nodes", "1", "--kubeconfig", kubeconfig, "--wait", "5m"}, ranges()...)...)
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = qps
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestNodesComeAndGo adds a node and removes it, over and over, beside one that stays.
func TestNodesComeAndGo(t *testing.T) {
	minato := minatoOf(t, "test-churn-nodes")
	times := number(t, "TIMES", 500)
	if times == 0 {
		t.Skip("TIMES is 0")
	}
	client := oneNode(t, minato, 0)
	comeAndGo := func(name string) {
		t.Helper()
		minato("node", "add", name)
		if !strings.Contains(string(minato("node", "ls")), name) {
			t.Fatalf("%s was added and is not listed", name)
		}
		minato("node", "remove", name)
	}
	for i := range 40 { // what is made once, and caches; the server starts some things half a minute late
		comeAndGo(fmt.Sprintf("warm-%d", i))
	}
	before := nodesHeld(t, client, nil)
	t.Logf("before: %s", before)
	began := time.Now()
	for i := range times {
		comeAndGo(fmt.Sprintf("n-%d", i%7)) // names come back, as people's do
		if (i+1)%50 == 0 {
			is, err := lookAtNodes(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d times after %s: memory %d MiB, descriptors %d, goroutines %d", i+1, time.Since(began).Round(time.Second), is.memory>>20, is.open, is.goroutines)
		}
	}
	after := nodesHeld(t, client, &before)
	t.Logf("after %d times in %s: %s", times, time.Since(began).Round(time.Second), after)
	compare(t, before, after)
}

// TestStartsAndDeletes makes a cluster and deletes it, over and over: the machine is as before each time.
func TestStartsAndDeletes(t *testing.T) {
	minato := minatoOf(t, "test-churn-nodes")
	times := number(t, "STARTS", 50)
	if times == 0 {
		t.Skip("STARTS is 0")
	}
	minato("delete", "--ignore-not-found")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	before := machineHas(t)
	var took []time.Duration
	for i := range times {
		began := time.Now()
		minato(append([]string{"up", "--nodes", "2", "--kubeconfig", kubeconfig, "--wait", "5m"}, ranges()...)...)
		took = append(took, time.Since(began))
		minato("delete")
		if left := slices.DeleteFunc(machineHas(t), func(s string) bool { return slices.Contains(before, s) }); len(left) > 0 {
			t.Fatalf("time %d left:\n%s", i+1, strings.Join(left, "\n"))
		}
	}
	slices.Sort(took)
	t.Logf("%d times: up took %s, the slowest %s; nothing is left", times, took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

// machineHas lists what has the cluster's name on the machine: links, namespaces, mounts, cgroups, files and processes.
func machineHas(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{
		"/sys/class/net/*" + churned + "*", "/run/netns/*" + churned + "*", "/run/minato/" + churned, "/var/lib/minato/" + churned,
		"/sys/fs/cgroup/minato/" + churned, "/sys/fs/cgroup/*/minato/" + churned, "/tmp/*" + churned + "*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, churned) {
			all = append(all, "mount "+strings.TrimSpace(line))
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if path == fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			continue
		}
		if text, _ := os.ReadFile(path); strings.Contains(string(text), "\x00"+churned+"\x00") {
			all = append(all, path+" "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	if out, err := exec.Command("ip", "route").Output(); err == nil {
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "172.24.0.0") || strings.Contains(line, "10.124.0.0") || strings.Contains(line, "10.224.0.0") {
				all = append(all, "route "+strings.TrimSpace(line))
			}
		}
	}
	return all
}

// lookAtNodes is look, with what nodes have besides.
func lookAtNodes(ctx context.Context, client kubernetes.Interface) (held, error) {
	h, err := look(ctx, client, churned)
	if err != nil {
		return h, err
	}
	for what, pattern := range map[string]string{
		"links of the machine": "/sys/class/net/*" + churned + "*", "named namespaces": "/run/netns/*" + churned + "*",
		"certificates": filepath.Join("/var/lib/minato", churned, "pki", "nodes", "*"), "logs of Ingresses": filepath.Join("/var/lib/minato", churned, "ingress", "*"),
		"sockets":                          filepath.Join("/run/minato", churned, "*", "*.sock"),
		"pinned mount namespaces":          filepath.Join("/run/minato", churned, "mntns", "*"),
		"directories of pinned programs":   filepath.Join("/run/minato", churned, "bpf", "*"),
		"pinned programs and maps of them": filepath.Join("/run/minato", churned, "bpf", "*", "*"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return h, err
		}
		h.counts[what] = len(found)
	}
	for what, path := range map[string]string{
		"Nodes": "/api/v1/nodes", "Leases": "/apis/coordination.k8s.io/v1/leases", "EndpointSlices": "/apis/discovery.k8s.io/v1/endpointslices",
		"Pods": "/api/v1/pods", "CSINodes": "/apis/storage.k8s.io/v1/csinodes",
	} {
		raw, err := client.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			return h, err
		}
		var list struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(raw, &list); err != nil {
			return h, fmt.Errorf("%s: %w", path, err)
		}
		h.counts[what] = len(list.Items)
	}
	return h, nil
}

// nodesHeld is settled for lookAtNodes.
func nodesHeld(t *testing.T, client kubernetes.Interface, before *held) held {
	t.Helper()
	return settle(t, before, func() (held, error) { return lookAtNodes(t.Context(), client) })
}
