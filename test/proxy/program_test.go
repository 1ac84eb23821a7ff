package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"minato/internal/host"
)

// node is one node with what its proxy is started with.
type node struct {
	t          *testing.T
	name       string
	ns         host.Netns
	cgroup     host.Cgroup
	kubeconfig string
	dir        string
	runs       int
	running    *program
}

// program is a running `minato proxy`.
type program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func (n *node) bpfDir() string { return filepath.Join(n.dir, "bpf") }

func (n *node) args(more ...string) []string {
	return append([]string{
		"proxy", "--node", n.name, "--kubeconfig", n.kubeconfig, "--cgroup", n.cgroup.V2(), "--bpf-dir", n.bpfDir(),
		"--metrics-bind-address", "0.0.0.0:10249",
	}, more...)
}

// start starts the proxy in the node's namespace.
func (n *node) start(more ...string) {
	n.t.Helper()
	n.runs++
	p := &program{log: filepath.Join(n.dir, fmt.Sprintf("proxy-%d.log", n.runs)), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		n.t.Fatal(err)
	}
	p.cmd = exec.Command(os.Getenv("MINATO"), n.args(more...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the program would end with the thread that started it
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := n.ns.Do(p.cmd.Start)
		started <- err
		if err == nil {
			p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		n.t.Fatal(err)
	}
	n.running = p
}

// end sends a signal and returns when the program is gone.
func (p *program) end(s syscall.Signal) {
	p.cmd.Process.Signal(s)
	<-p.done
}

func (p *program) text() string {
	data, _ := os.ReadFile(p.log)
	return string(data)
}

// once runs the proxy with other flags and returns its exit status and output.
func (n *node) once(args ...string) (int, string) {
	n.t.Helper()
	cmd := exec.Command(os.Getenv("MINATO"), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.ns.Do(cmd.Start); err != nil {
		n.t.Fatal(err)
	}
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), out.String()
}

// ip runs iproute2's program in the node's namespace.
func (n *node) ip(args ...string) (out []byte, err error) {
	err = n.ns.Do(func() error {
		out, err = exec.Command("ip", args...).CombinedOutput()
		return err
	})
	return out, err
}

// get asks an HTTP endpoint of the node from the LAN or the node itself.
func (n *node) get(from host.Netns, url string) (int, string) {
	client := http.Client{Timeout: askTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return from.DialContext(ctx, network, addr)
		},
	}}
	r, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(body)
}

// waitHealthy returns when the proxy says that it is in step with the cluster.
func (n *node) waitHealthy() {
	n.t.Helper()
	eventually(n.t, n.name+" is healthy", func() error {
		select {
		case <-n.running.done:
			n.t.Fatalf("the proxy of %s ended:\n%s", n.name, n.running.text())
		default:
		}
		if code, body := n.get(n.ns, "http://127.0.0.1:10256/healthz"); code != http.StatusOK {
			return fmt.Errorf("%d %s\n%s", code, body, n.running.text())
		}
		return nil
	})
}

var (
	queueLength = regexp.MustCompile(`default( qlen \d+)? ?`)
	// linkLocal are the routes that an interface has by itself, from some moment on after it has a carrier.
	linkLocal = regexp.MustCompile(`(?m)^(\w+ )?(fe80::|ff00::).*\n`)
)

// picture is everything of the node that a proxy might leave something in.
func (n *node) picture() string {
	n.t.Helper()
	var out strings.Builder
	for _, command := range []string{
		"ip -o link show", "ip -4 -o address show", "ip -4 route show table all", "ip rule show", "tc qdisc show",
		"ip -6 -o address show scope global", "ip -6 route show table all", "ip -6 rule show",
		"cat /proc/sys/net/ipv4/ip_local_reserved_ports", "cat /proc/sys/net/ipv4/ip_forward", "cat /proc/sys/net/ipv6/conf/all/forwarding", "nft list ruleset",
	} {
		args := strings.Fields(command)
		cmd := exec.Command(args[0], args[1:]...)
		var text bytes.Buffer
		cmd.Stdout, cmd.Stderr = &text, &text
		if err := n.ns.Do(cmd.Start); err != nil {
			n.t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			n.t.Fatalf("%s: %v: %s", command, err, text.String())
		}
		// The kernel gives an interface a queue length with its first classifier, and keeps it.
		same := queueLength.ReplaceAllString(text.String(), "default")
		fmt.Fprintf(&out, "# %s\n%s\n", command, linkLocal.ReplaceAllString(same, ""))
	}
	programs, err := cgroupPrograms(n.cgroup.V2())
	if err != nil {
		n.t.Fatal(err)
	}
	mounts, err := host.MountsUnder(n.dir)
	if err != nil {
		n.t.Fatal(err)
	}
	entries, _ := os.ReadDir(n.bpfDir())
	fmt.Fprintf(&out, "# programs of the cgroup: %d\n# mounts: %v\n# pins: %v\n", programs, mounts, entries)
	return out.String()
}

// eventually waits until there is nothing to complain of.
func eventually(t *testing.T, what string, complaint func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := complaint()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 20s: %s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
