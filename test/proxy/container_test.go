package proxy

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/host"
)

const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// enter makes what a container of the DaemonSet sees: a root file system with nothing but the program, the directories
// of the node that it mounts, and its service account. What it mounts itself stays when it ends, as it does on a node.
// The node has version 1 of cgroups as well, and no BPF file system.
func (n *node) enter(account map[string]string) {
	n.t.Helper()
	root := filepath.Join(n.dir, "root")
	dirs := []string{"proc", "sys", "host/cgroup/unified", "run/minato", accountDir}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	files := map[string]string{"minato": ""}
	for name, content := range account {
		files[filepath.Join(accountDir, name)] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
	n.t.Cleanup(func() { host.UnmountAllUnder(root) })
	for _, args := range [][]string{
		{"-t", "proc", "proc", filepath.Join(root, "proc")},
		{"-t", "sysfs", "sysfs", filepath.Join(root, "sys")},
		{"--bind", n.cgroup.V2(), filepath.Join(root, "host/cgroup/unified")},
		{"--bind", os.Getenv("MINATO"), filepath.Join(root, "minato")},
	} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			n.t.Fatalf("mount %v: %v: %s", args, err, out)
		}
	}
	n.root = root
	// The address of the Service is of no use before there is a proxy.
	n.env = []string{"KUBERNETES_SERVICE_HOST=10.97.0.1", "KUBERNETES_SERVICE_PORT=443", "NODE_NAME=" + n.name}
}

// leave ends enter.
func (n *node) leave() {
	n.t.Helper()
	if err := host.UnmountAllUnder(n.root); err != nil {
		n.t.Fatal(err)
	}
	n.root, n.env = "", nil
}

// The manifest's own command line, in a container and with its service account: it starts, survives its container, and
// goes without a trace.
func (w *world) testDaemonSet(t *testing.T) {
	n := w.two
	n.running.end(syscall.SIGTERM)
	if code, out := n.once("proxy", "--cleanup", "--bpf-dir", n.bpfDir()); code != 0 {
		t.Fatalf("clean up: %s", out)
	}
	if w.daemons.Spec.Template.Spec.ServiceAccountName != w.account.name || !w.daemons.Spec.Template.Spec.HostNetwork {
		t.Errorf("the Pods are not %s's, or not on the node's network", w.account.name)
	}
	container := w.daemons.Spec.Template.Spec.Containers[0]
	args := make([]string, 0, len(container.Args))
	for _, arg := range container.Args {
		args = append(args, strings.ReplaceAll(arg, "CONTROL-PLANE:6443", w.cluster.Address()))
	}
	web, err := w.client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	serves := func(when string) {
		t.Helper()
		for _, f := range families {
			w.reached(when, sockets(t, w.q2, n.cgroup.V2()), "tcp", f.vip(web), "p1", "p2")
			w.reached(when, packets(w.q2), "udp", f.vip(web), "p1", "p2")
			w.reached(when, packets(w.lan), "tcp", f.at(n2IP, 30080), "p1", "p2")
		}
	}
	n.enter(map[string]string{"token": w.account.token, "ca.crt": string(w.cluster.CABundle())})
	fresh := n.runs + 1
	for _, how := range []string{"the first container", "the second container"} {
		n.startWith(args...)
		n.waitHealthy()
		if n.runs == fresh {
			// Nothing was there to be taken over, so what clients began meanwhile may have to begin anew.
			w.settled(how, sockets(t, w.q2, n.cgroup.V2()), "tcp", vip(web), answeredBy("p1", "p2"))
		}
		serves(how)
		for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe} {
			url := fmt.Sprintf("http://%s:%d%s", probe.HTTPGet.Host, probe.HTTPGet.Port.IntValue(), probe.HTTPGet.Path)
			if code, body := n.get(n.ns, url); code != http.StatusOK {
				t.Errorf("probe of %s: %d %s", url, code, body)
			}
		}
		n.running.end(syscall.SIGKILL)
		serves("after " + how)
	}
	if code, out := n.once("proxy", "--cleanup"); code != 0 {
		t.Errorf("clean up in a container: %s", out)
	}
	if left, err := os.ReadDir(filepath.Join(n.root, "run/minato")); err != nil && !os.IsNotExist(err) || len(left) > 0 {
		t.Errorf("left in /run/minato: %v, %v", left, err)
	}
	n.leave()
	w.sameAsBefore(n, "the container's cleanup")
	n.start()
	n.waitHealthy()
}
