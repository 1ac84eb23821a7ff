package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	cluster = "ctrd"
	node    = "node-1"
	dns     = "10.91.0.10"
	image   = "minato.local/cri-busybox:latest"
	pause   = "registry.k8s.io/pause:3.10.2"
)

// configuration is containerd's. Tests often run where nobody may make a process
// less likely to be killed, and without AppArmor.
const configuration = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pause + `"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%s"
    conf_dir = "%s"
`

// lab is a cluster of one node with a containerd.
type lab struct {
	t       *testing.T
	minato  string
	dir     string
	bin     string // of containerd's programs
	runtime runtimeapi.RuntimeServiceClient
}

// program finds what the test can't do without.
func program(t *testing.T, variable, name string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = name
	}
	found, err := exec.LookPath(path)
	if err != nil {
		t.Skipf("%s is not there: install Debian's packages containerd and containernetworking-plugins, or name it in %s", path, variable)
	}
	return found
}

func (l *lab) do(name string, args ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 4*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v: %s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// onNode is a command in the node's network namespace.
func (l *lab) onNode(ctx context.Context, args ...string) *exec.Cmd {
	all := []string{
		"--net=/run/netns/" + cluster + "-" + node, "--", "env", "PATH=" + l.bin + ":/usr/sbin:/usr/bin:/sbin:/bin",
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(all, args...)...)
	cmd.Dir = "/"
	return cmd
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 || os.Getenv("MINATO") == "" || os.Getenv("IMAGES") == "" {
		t.Skip("it needs root's rights, MINATO and IMAGES; run by hand, see the package's comment")
	}
	containerd, loopback := program(t, "CONTAINERD", "containerd"), program(t, "LOOPBACK", "/usr/lib/cni/loopback")
	l := &lab{t: t, minato: os.Getenv("MINATO"), dir: t.TempDir(), bin: filepath.Dir(containerd)}
	l.do(l.minato, "delete", "--ignore-not-found", "--name", cluster)
	t.Cleanup(func() {
		if out, err := exec.Command(l.minato, "delete", "--name", cluster).CombinedOutput(); err != nil {
			t.Errorf("delete the cluster: %v: %s", err, out)
		}
	})
	for name, path := range map[string]string{"loopback": loopback, "minato-cni": l.minato} {
		l.do("cp", path, filepath.Join(l.dir, name))
	}
	for _, name := range []string{"e2e-pause", "cri-busybox"} {
		l.do("cp", filepath.Join(os.Getenv("IMAGES"), name+".tar"), l.dir)
	}
	l.do(l.minato, "up", "--name", cluster, "--nodes", "1", "--ephemeral", "--load-balancer-range", "none", "--wait", "3m", "--mount", l.dir+":ro", "--mount", l.bin+":ro",
		"--lan-cidr", "172.19.0.0/16", "--pod-cidr", "10.239.0.0/16", "--service-cidr", "10.91.0.0/16", "--kubeconfig", filepath.Join(t.TempDir(), "kubeconfig"))
	l.start()
	return l
}

// start writes both configurations and runs containerd until the test's end.
func (l *lab) start() {
	l.t.Helper()
	list := l.do(l.minato, "cni", "config", node, "--name", cluster)
	for name, text := range map[string]string{"10-minato.conflist": list, "config.toml": fmt.Sprintf(configuration, l.dir, l.dir)} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o644); err != nil {
			l.t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(l.t.TempDir(), "containerd.log"))
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := l.onNode(context.WithoutCancel(l.t.Context()), "containerd", "-c", filepath.Join(l.dir, "config.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && l.t.Failed() {
			l.t.Logf("containerd: %s", text[max(0, len(text)-8<<10):])
		}
	})
	socket := filepath.Join("/run/minato", cluster, "nodes", node, "root/run/containerd/containerd.sock")
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	l.runtime = runtimeapi.NewRuntimeServiceClient(conn)
	for { // the gRPC server is there before the CRI is
		if s, err := l.runtime.Status(l.t.Context(), &runtimeapi.StatusRequest{}); err == nil && networkReady(s) {
			break
		}
		select {
		case <-l.t.Context().Done():
			l.t.Fatal("containerd does not become ready")
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, name := range []string{"e2e-pause", "cri-busybox"} {
		if out, err := l.onNode(l.t.Context(), "ctr", "-n", "k8s.io", "images", "import", filepath.Join(l.dir, name+".tar")).CombinedOutput(); err != nil {
			l.t.Fatalf("import %s: %v: %s", name, err, out)
		}
	}
}

func networkReady(s *runtimeapi.StatusResponse) bool {
	for _, c := range s.GetStatus().GetConditions() {
		if c.GetType() == "NetworkReady" {
			return c.GetStatus()
		}
	}
	return false
}

// pod runs a sandbox with one container that sleeps.
func (l *lab) pod(name string) (sandbox, container, ip string) {
	l.t.Helper()
	ctx := l.t.Context()
	config := &runtimeapi.PodSandboxConfig{
		Metadata:  &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name},
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{dns}}, Linux: &runtimeapi.LinuxPodSandboxConfig{},
	}
	made, err := l.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { // a test that ended early leaves processes, which would outlive containerd
		if !l.t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, serr := l.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: made.PodSandboxId})
		_, rerr := l.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: made.PodSandboxId})
		if err := errors.Join(serr, rerr); err != nil {
			l.t.Errorf("remove sandbox %s: %v", name, err)
		}
	})
	status, err := l.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: made.PodSandboxId})
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := l.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: made.PodSandboxId, SandboxConfig: config, Config: &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"}, Image: &runtimeapi.ImageSpec{Image: image},
		Command: []string{"sh", "-c", "while true; do echo answer-of-" + name + " | nc -l -p 8080 >/dev/null; done"}, Linux: &runtimeapi.LinuxContainerConfig{},
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		l.t.Fatal(err)
	}
	return made.PodSandboxId, c.ContainerId, status.GetStatus().GetNetwork().GetIp()
}

// eventually runs a command in a container until its output has what is wanted.
func (l *lab) eventually(container, want, command string) {
	l.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		resp, err := l.runtime.ExecSync(l.t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: container, Cmd: []string{"sh", "-c", command}, Timeout: 20})
		out := string(resp.GetStdout()) + string(resp.GetStderr())
		if err == nil && strings.Contains(out, want) {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: %v: %q, want %q in it", command, err, out, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestContainersOfContainerd(t *testing.T) {
	l := newLab(t)
	first, one, ip1 := l.pod("one")
	second, _, ip2 := l.pod("two")
	for _, ip := range []string{ip1, ip2} {
		if parsed := net.ParseIP(ip); parsed == nil || !strings.HasPrefix(ip, "10.239.1.") {
			t.Errorf("a sandbox has the address %q; want one of the node's range", ip)
		}
	}
	l.eventually(one, "answer-of-two", "nc -w 5 "+ip2+" 8080 </dev/null")
	l.eventually(one, "10.91.0.1", "nslookup kubernetes.default.svc.cluster.local "+dns)
	l.eventually(one, "reached", "echo hello | nc -w 9 10.91.0.1 443 && echo reached")
	record := filepath.Join("/run/minato", cluster, "nodes", node, "addresses")
	if entries, err := os.ReadDir(record); err != nil || len(entries) != 2 {
		t.Errorf("addresses that are taken: %v, %v; want two", entries, err)
	}
	for _, id := range []string{first, second} {
		if _, err := l.runtime.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
			t.Error(err)
		}
		if _, err := l.runtime.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(record); err != nil || len(entries) != 0 {
		t.Errorf("addresses that are left: %v, %v", entries, err)
	}
}
