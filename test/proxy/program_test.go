package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"minato/internal/host"
	"minato/test/lab"
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
	running    *lab.Program
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
	n.running = lab.Start(n.t, n.ns, filepath.Join(n.dir, fmt.Sprintf("proxy-%d.log", n.runs)), n.args(more...)...)
}

// once runs the proxy with other flags and returns its exit status and output.
func (n *node) once(args ...string) (int, string) {
	n.t.Helper()
	return lab.Once(n.t, n.ns, args...)
}

// ip runs iproute2's program in the node's namespace.
func (n *node) ip(args ...string) (out []byte, err error) {
	err = n.ns.Do(func() error {
		out, err = exec.Command("ip", args...).CombinedOutput()
		return err
	})
	return out, err
}

// waitHealthy returns when the proxy says that it is in step with the cluster.
func (n *node) waitHealthy() {
	n.t.Helper()
	lab.Eventually(n.t, n.name+" is healthy", func() error {
		select {
		case <-n.running.Done:
			n.t.Fatalf("the proxy of %s ended:\n%s", n.name, n.running.Text())
		default:
		}
		if code, body := lab.Get(n.ns, "http://127.0.0.1:10256/healthz"); code != http.StatusOK {
			return fmt.Errorf("%d %s\n%s", code, body, n.running.Text())
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
