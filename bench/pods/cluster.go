package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"minato/bench/lab"
	"minato/test/containerd"
)

const (
	namespace = "default"
	image     = "minato.local/whoami:latest"
)

// cluster is the one that is measured.
type cluster struct {
	options
	dir string
	api kubernetes.Interface
	pid int // of the server
	// daemon runs the Pods of all nodes; nil if Minato's own runtime does.
	daemon *containerd.Daemon
}

func newCluster(o options, runtime string) (*cluster, error) {
	dir, err := os.MkdirTemp("", "minato-pods-")
	if err != nil {
		return nil, err
	}
	c := &cluster{options: o, dir: dir}
	if runtime == theirs {
		c.daemon, err = containerd.New("/run/mt-" + o.name + "-containerd")
	}
	return c, err
}

func (c *cluster) start(ctx context.Context) error {
	if _, err := c.run(ctx, "delete", "--ignore-not-found", "--name", c.name); err != nil {
		return err
	}
	lab.Progress("start a cluster of %d nodes", c.nodes)
	kubeconfig := filepath.Join(c.dir, "kubeconfig")
	args := append([]string{"up", "--name", c.name, "--nodes", strconv.Itoa(c.nodes), "--kubeconfig", kubeconfig}, c.up...)
	archive := filepath.Join(c.images, "whoami.tar")
	if c.daemon != nil {
		args = append(args, "--container-runtime-endpoint", c.daemon.Endpoint())
		if err := c.startDaemon(ctx, archive); err != nil {
			return err
		}
	}
	if _, err := c.run(ctx, args...); err != nil {
		return err
	}
	status, err := c.run(ctx, "status", "--name", c.name, "-o", "json")
	if err != nil {
		return err
	}
	var server struct{ PID int }
	if err := json.Unmarshal(status, &server); err != nil || server.PID == 0 {
		return fmt.Errorf("the status does not tell the server's process: %s", status)
	}
	c.pid = server.PID
	if c.daemon == nil {
		if _, err := c.run(ctx, "image", "load", "--name", c.name, archive); err != nil {
			return err
		}
	}
	if c.api, err = lab.Connect(kubeconfig); err != nil {
		return err
	}
	return c.await(ctx, "the namespace's ServiceAccount", func(ctx context.Context) (bool, error) {
		_, err := c.api.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	})
}

// startDaemon runs containerd with the image and the Pod network.
func (c *cluster) startDaemon(ctx context.Context, archive string) error {
	if err := c.daemon.Start(ctx); err != nil {
		return err
	}
	if err := c.daemon.Import(ctx, archive, filepath.Join(c.images, "pause.tar")); err != nil {
		return err
	}
	_, err := c.run(ctx, "cni", "install", "--container-runtime-endpoint", c.daemon.Endpoint())
	return err
}

// run runs minato.
func (c *cluster) run(ctx context.Context, args ...string) ([]byte, error) {
	return lab.Command(ctx, nil, c.minato, args...)
}

// close removes all that was made.
func (c *cluster) close(ctx context.Context) error {
	if log, err := os.ReadFile("/var/lib/minato/" + c.name + "/minato.log"); err == nil {
		_ = os.MkdirAll(filepath.Dir(c.out), 0o755) // the log is a help only when something went wrong
		_ = os.WriteFile(strings.TrimSuffix(c.out, ".json")+".minato.log", log, 0o600)
	}
	_, err := c.run(ctx, "delete", "--ignore-not-found", "--name", c.name)
	if c.daemon != nil {
		err = errors.Join(err, c.daemon.Remove())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// await polls until done.
func (c *cluster) await(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	return lab.Await(ctx, what, c.patience, 10*time.Millisecond, done)
}

// idle reads what the cluster takes while nothing happens.
func (c *cluster) idle(ctx context.Context, pods int) (idle, error) {
	lab.Progress("idle with %d Pods for %s", pods, 2*c.settle)
	if err := lab.Sleep(ctx, c.settle); err != nil {
		return idle{}, err
	}
	others, err := c.others()
	if err != nil {
		return idle{}, err
	}
	all := append(others, c.pid)
	before, began := cpuOf(all), time.Now()
	if err := lab.Sleep(ctx, c.settle); err != nil {
		return idle{}, err
	}
	i := idle{Pods: pods, Processor: 100 * float64(cpuOf(all)-before) / float64(time.Since(began)), Server: mebi(lab.ResidentOf(c.pid))}
	for _, pid := range others {
		i.Others += mebi(lab.ResidentOf(pid))
	}
	return i, nil
}

func cpuOf(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		sum += lab.CPUOf(pid)
	}
	return sum
}

// others are the processes besides the server that are there for Pods.
func (c *cluster) others() ([]int, error) {
	if c.daemon != nil {
		return c.daemon.Processes()
	}
	return c.conmons()
}

func mebi(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// conmons finds the cluster's processes of that name by their cgroups.
func (c *cluster) conmons() ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range names {
		comm, _ := os.ReadFile(name) // one that has ended is none
		dir := filepath.Dir(name)
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if strings.TrimSpace(string(comm)) != "conmon" || !strings.Contains(string(groups), "/minato/"+c.name+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			out = append(out, pid)
		}
	}
	return out, nil
}
