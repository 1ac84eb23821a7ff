package proxy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/test/lab"
	"minato/test/stock"
)

const serviceCIDR = "10.97.0.0/16"

// world is a cluster of two nodes, each with a proxy.
type world struct {
	*testing.T
	*network
	lab.Objects
	cluster *stock.Cluster
	one     *node
	two     *node
	before  map[*node]string
	daemons *appsv1.DaemonSet
	account lab.Account
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if os.Getenv("MINATO") == "" || os.Getenv("IMAGES") == "" {
		t.Skip("needs MINATO (the binary) and IMAGES (the directory of test images); `make test-e2e` sets both")
	}
	cluster, err := stock.Start(t.Context(), t.TempDir(), stock.Options{ServiceCIDR: serviceCIDR + "," + lab.IPv6.Prefix(serviceCIDR).String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	w := &world{T: t, cluster: cluster, network: newNetwork(t), Objects: lab.Objects{TB: t, Client: cluster.Client()}, before: map[*node]string{}}
	w.daemons, w.account = lab.Apply(t, cluster, "../../deploy/proxy.yaml")
	w.one = w.node("n1", w.n1, n1IP, n1Pods)
	w.two = w.node("n2", w.n2, n2IP, n2Pods)
	for _, s := range []struct {
		ns       host.Netns
		name, ip string
	}{{w.p1, "p1", p1IP}, {w.q1, "q1", q1IP}, {w.p2, "p2", p2IP}, {w.q2, "q2", q2IP}, {w.lan, "lan", lanIP}, {w.n1, "n1", n1IP}} {
		lab.Serve(t, s.ns, s.name, s.ip)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("n1:\n%s\nn2:\n%s", w.one.running.Text(), w.two.running.Text())
		}
	})
	return w
}

// node makes a node and notes what it looks like before there is a proxy.
func (w *world) node(name string, ns host.Netns, ip, pods string) *node {
	w.Helper()
	_, err := w.cluster.Node(w.Context(), name, []netip.Addr{lab.IPv4.Addr(ip), lab.IPv6.Addr(ip)}, netip.MustParsePrefix(pods), map[string]string{corev1.LabelTopologyZone: "zone-" + name})
	if err != nil {
		w.Fatal(err)
	}
	n := &node{t: w.T, name: name, ns: ns, kubeconfig: w.account.Kubeconfig, dir: filepath.Join(w.TempDir(), name)}
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		w.Fatal(err)
	}
	n.cgroup = host.Cgroup{Path: fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), name)}
	if err := n.cgroup.Create(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := n.cgroup.Delete(); err != nil {
			w.Error(err)
		}
	})
	lab.Forward(w.T, ns, w.cluster.Address())
	w.before[n] = n.picture()
	// Whatever happens, nothing stays: the mounts and the programs would outlive the namespaces.
	w.Cleanup(func() {
		if n.running != nil {
			n.running.End(syscall.SIGKILL)
		}
		if code, out := n.once("proxy", "--cleanup", "--bpf-dir", n.bpfDir()); code != 0 {
			w.Errorf("clean up %s: %s", name, out)
		}
	})
	return n
}

// vip is a Service's IPv4 address, with its port.
func vip(s *corev1.Service) string { return lab.IPv4.VIP(s) }

// reached asks until every one of the servers named has answered, and fails at the first other answer. All answers are
// returned.
func (w *world) reached(what string, ask asker, network, addr string, want ...string) []lab.Answer {
	w.Helper()
	missing := map[string]bool{}
	for _, name := range want {
		missing[name] = true
	}
	var all []lab.Answer
	for range 64 {
		a := ask(network, addr)
		if a.Err != "" || !contains(want, a.Server) {
			w.Fatalf("%s: %s %s: %+v, want an answer of %v", what, network, addr, a, want)
		}
		all = append(all, a)
		if delete(missing, a.Server); len(missing) == 0 {
			return all
		}
	}
	w.Fatalf("%s: %s %s: never answered by all of %v", what, network, addr, want)
	return nil
}

func contains(all []string, one string) bool {
	return strings.Contains(" "+strings.Join(all, " ")+" ", " "+one+" ")
}

// settled waits until a Service is answered as it is to be, for changes that take a moment to come through.
func (w *world) settled(what string, ask asker, network, addr string, is func(lab.Answer) bool) {
	w.Helper()
	lab.Eventually(w.T, what, func() error {
		if a := ask(network, addr); !is(a) {
			return fmt.Errorf("%s %s: %+v", network, addr, a)
		}
		return nil
	})
}

func answeredBy(names ...string) func(lab.Answer) bool {
	return func(a lab.Answer) bool { return a.Err == "" && contains(names, a.Server) }
}
