package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"minato/internal/host"
	kubelet "minato/internal/node"
	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
)

// agentEnv has the agentConfig of a process that is an agent.
const agentEnv = "MT_PROXY_AGENT"

// agentConfig is what a node's agent and container runtime are started with.
type agentConfig struct {
	Node       string
	Addresses  []netip.Addr
	Kubeconfig string
	Image      string
	Dir        string // for images and containers
	Cgroup     string // the node's, as a path below every hierarchy
}

// agent is a process that runs a node's Pods, as Minato does on its own nodes. It is in the node's network, and in a
// mount namespace that is to it what a machine's is: mounts propagate, the root of cgroup2 is the node's cgroup, the BPF
// file system is the node's, and /run is empty.
type agent struct {
	cmd *exec.Cmd
	in  io.Closer
	log bytes.Buffer
}

// startAgent starts one that ends with the part.
func (n *node) startAgent(addresses []netip.Addr, kubeconfig string) *agent {
	n.t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", prefix) // overlayfs wants a real disk
	if err != nil {
		n.t.Fatal(err)
	}
	cfg, err := json.Marshal(agentConfig{
		Node: n.name, Addresses: addresses, Kubeconfig: kubeconfig, Image: filepath.Join(os.Getenv("IMAGES"), "minato.tar"), Dir: dir, Cgroup: n.cgroup.Path,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	a := &agent{cmd: exec.Command("/proc/self/exe")}
	a.cmd.Env = append(os.Environ(), agentEnv+"="+string(cfg))
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		n.t.Fatal(err)
	}
	if err := n.ns.Do(a.cmd.Start); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		a.end()
		if n.t.Failed() {
			n.t.Logf("the agent of %s:\n%s", n.name, a.log.String())
			logs, _ := filepath.Glob(filepath.Join(dir, "log/pods/*/*/*"))
			for _, path := range logs {
				text, _ := os.ReadFile(path)
				n.t.Logf("%s:\n%s", path, text)
			}
		}
		// Containers outlive their agent.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(n.cgroup.Kill(ctx), os.RemoveAll(dir)); err != nil {
			n.t.Error(err)
		}
	})
	return a
}

func (a *agent) end() {
	a.in.Close()
	a.cmd.Wait()
}

// sees is a path of this process for one of the agent's.
func (a *agent) sees(path string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", a.cmd.Process.Pid), path)
}

// agentMain is an agent until its standard input ends.
func agentMain(text string) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var cfg agentConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	if err := ownMachine(host.Cgroup{Path: cfg.Cgroup}); err != nil {
		return err
	}
	store, err := image.Open(filepath.Join(cfg.Dir, "images"))
	if err != nil {
		return err
	}
	if _, err := store.Load(ctx, cfg.Image, nil); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	runtime, err := oci.New(oci.Config{
		NodeName: cfg.Node, Dir: filepath.Join(cfg.Dir, "containers"), RunDir: "/run/containers", Store: store, Cgroup: host.Cgroup{Path: cfg.Cgroup}, Logger: log,
	})
	if err != nil {
		return err
	}
	return cfg.run(ctx, store, runtime, log)
}

// ownMachine makes the mount namespace what agent says.
func ownMachine(node host.Cgroup) error {
	layout, err := host.Cgroups()
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"--make-rshared", "/"},
		{"--bind", node.V2(), layout.V2Root},
		{"-t", "tmpfs", "tmpfs", "/run"},
		{"-t", "bpf", "bpf", "/sys/fs/bpf"},
	} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("mount %v: %w: %s", args, err, out)
		}
	}
	return nil
}

func (cfg *agentConfig) run(ctx context.Context, store *image.Store, runtime *oci.Runtime, log *slog.Logger) error {
	rest, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	images, err := image.NewService(image.ServiceConfig{Store: store, Logger: log})
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	pods := kubelet.NewPodInformer(client, cfg.Node)
	events := make(chan kubelet.Event)
	k, err := kubelet.New(kubelet.Config{
		Name: cfg.Node, Addresses: cfg.Addresses, Client: client, Pods: pods, Services: services.Lister(), ServicesSynced: services.Informer().HasSynced,
		Runtime: runtime, Images: images, Streaming: runtime.Streams(), Events: events,
		Dir: cfg.Dir, RunDir: "/run/pods", Cgroup: host.Cgroup{Path: cfg.Cgroup},
		Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		Version:  "v0.0.0-test", Logger: log,
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return runtime.Run(ctx) })
	g.Go(func() error {
		for e := range runtime.Events(ctx) {
			select {
			case events <- kubelet.Event{ContainerID: e.ContainerID, SandboxID: e.SandboxID}:
			case <-ctx.Done():
			}
		}
		return nil
	})
	g.Go(func() error { pods.RunWithContext(ctx); return nil })
	g.Go(func() error { return k.Run(ctx) })
	return g.Wait()
}

// theOne is the process of a node's Pods that runs the program, besides those that it makes.
func (n *node) theOne(t *testing.T, program string) int {
	t.Helper()
	pids, err := n.cgroup.Procs()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, pid := range pids {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(bytes.TrimSpace(comm)) == program {
			if found != 0 {
				t.Fatalf("processes %d and %d both run %s", found, pid, program)
			}
			found = pid
		}
	}
	if found == 0 {
		t.Fatalf("none of the processes %v runs %s", pids, program)
	}
	return found
}
