package loadbalancer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"minato/internal/host"
	"minato/test/lab"
	"minato/test/stock"
)

const (
	serviceCIDR = "10.97.0.0/16"
	namespace   = "metallb-system"
	lease       = "minato-loadbalancer"
	manifest    = "../../deploy/loadbalancer.yaml"
)

// world is a cluster of nodes, each with a proxy and a load balancer.
type world struct {
	*testing.T
	*network
	lab.Objects
	cluster *stock.Cluster
	dynamic dynamic.Interface
	account lab.Account
	node    [nodes + 1]*node
}

// node is one node with its programs.
type node struct {
	*world
	number  int
	name    string
	ns      host.Netns
	cgroup  host.Cgroup
	dir     string
	runs    int
	proxy   *lab.Program
	running *lab.Program
	// before is what it looked like without a load balancer.
	before string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if os.Getenv("MINATO") == "" {
		t.Skip("needs MINATO (the binary); `make test-e2e` sets it")
	}
	cluster, err := stock.Start(t.Context(), t.TempDir(), stock.Options{ServiceCIDR: serviceCIDR + "," + lab.IPv6.Prefix(serviceCIDR).String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	w := &world{T: t, cluster: cluster, network: newNetwork(t), Objects: lab.Objects{TB: t, Client: cluster.Client()}}
	if w.dynamic, err = dynamic.NewForConfig(cluster.Config()); err != nil {
		t.Fatal(err)
	}
	_, w.account = lab.Apply(t, cluster, manifest)
	for i := 1; i <= nodes; i++ {
		w.node[i] = w.newNode(i)
		w.serve(i)
	}
	t.Cleanup(func() {
		for _, n := range w.node[1:] {
			if t.Failed() && n.running != nil {
				t.Logf("%s:\n%s", n.name, n.running.Text())
			}
		}
	})
	return w
}

// newNode makes a node with a proxy.
func (w *world) newNode(i int) *node {
	w.Helper()
	n := &node{world: w, number: i, name: fmt.Sprint("n", i), ns: w.nodes[i]}
	_, err := w.cluster.Node(w.Context(), n.name, []netip.Addr{lab.IPv4.Addr(nodeIP(i)), lab.IPv6.Addr(nodeIP(i))}, netip.MustParsePrefix(podRange(i)), nil)
	if err != nil {
		w.Fatal(err)
	}
	n.dir = filepath.Join(w.TempDir(), n.name)
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		w.Fatal(err)
	}
	n.cgroup = host.Cgroup{Path: fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), n.name)}
	if err := n.cgroup.Create(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := n.cgroup.Delete(); err != nil {
			w.Error(err)
		}
	})
	lab.Forward(w.T, n.ns, w.cluster.Address())
	// Whatever happens, nothing stays: the mounts and the programs would outlive the namespaces.
	w.Cleanup(func() {
		for _, p := range []*lab.Program{n.running, n.proxy} {
			if p != nil {
				p.End(syscall.SIGKILL)
			}
		}
		for _, command := range []string{"loadbalancer", "proxy"} {
			if code, out := lab.Once(w.T, n.ns, command, "--cleanup", "--bpf-dir", n.bpfDir()); code != 0 {
				w.Errorf("clean up %s: %s", n.name, out)
			}
		}
	})
	n.startProxy()
	return n
}

func (n *node) bpfDir() string { return filepath.Join(n.dir, "bpf") }

// startProxy starts what serves the Services.
func (n *node) startProxy() {
	n.Helper()
	n.proxy = lab.Start(n.T, n.ns, filepath.Join(n.dir, "proxy.log"), "proxy", "--node", n.name, "--kubeconfig", n.cluster.Kubeconfig(),
		"--cgroup", n.cgroup.V2(), "--bpf-dir", n.bpfDir())
	lab.Eventually(n.T, "the proxy of "+n.name+" is healthy", func() error {
		if code, body := lab.Get(n.ns, "http://127.0.0.1:10256/healthz"); code != http.StatusOK {
			return fmt.Errorf("%d %s\n%s", code, body, n.proxy.Text())
		}
		return nil
	})
}

func (n *node) args(more ...string) []string {
	return append([]string{"loadbalancer", "--node", n.name, "--kubeconfig", n.account.Kubeconfig, "--bpf-dir", n.bpfDir(), "-v", "4"}, more...)
}

// start starts the load balancer in the node's namespace.
func (n *node) start(more ...string) {
	n.Helper()
	n.runs++
	n.running = lab.Start(n.T, n.ns, filepath.Join(n.dir, fmt.Sprintf("loadbalancer-%d.log", n.runs)), n.args(more...)...)
}

// waitHealthy returns when the load balancer announces what there is.
func (n *node) waitHealthy() {
	n.Helper()
	lab.Eventually(n.T, n.name+" is healthy", func() error {
		select {
		case <-n.running.Done:
			n.Fatalf("the load balancer of %s ended:\n%s", n.name, n.running.Text())
		default:
		}
		if code, body := lab.Get(n.ns, "http://127.0.0.1:7472/healthz"); code != http.StatusOK {
			return fmt.Errorf("%d %s\n%s", code, body, n.running.Text())
		}
		return nil
	})
}

// metric is a sample of the load balancer by its name and labels, -1 if there is none.
func (n *node) metric(sample string) float64 {
	n.Helper()
	_, text := lab.Get(n.ns, "http://127.0.0.1:7472/metrics")
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(strings.TrimSpace(line), sample+" "); is {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				n.Fatal(err)
			}
			return v
		}
	}
	return -1
}

var (
	queueLength = regexp.MustCompile(`default( qlen \d+)? ?`)
	// proxys are the routes to addresses of Services, which the proxy makes when they come.
	proxys     = regexp.MustCompile(`(?m)^.* dev svc0 .*\n`)
	programIDs = regexp.MustCompile(`\bid \d+ |\btag \w+ |jited ?`)
)

// picture is everything of the node that a load balancer might leave something in.
func (n *node) picture() string {
	n.Helper()
	var out strings.Builder
	for _, command := range []string{
		"ip -o link show", "ip -o address show scope global", "ip route show table all", "tc qdisc show", "tc filter show dev eth0 ingress", "ip maddress show dev eth0",
	} {
		args := strings.Fields(command)
		// The kernel gives an interface a queue length with its first classifier, and keeps it.
		text := queueLength.ReplaceAllString(lab.Command(n.T, n.ns, args[0], args[1:]...), "default")
		fmt.Fprintf(&out, "# %s\n%s\n", command, proxys.ReplaceAllString(programIDs.ReplaceAllString(text, ""), ""))
	}
	entries, _ := os.ReadDir(n.bpfDir())
	fmt.Fprintf(&out, "# pins: %v\n", entries)
	return out.String()
}

// serve has a node's Pod answer at port 8080: with a line that says who answers whom, and over TCP with whatever comes then.
func (w *world) serve(i int) {
	w.Helper()
	name := fmt.Sprint("p", i)
	for _, f := range lab.Families {
		lab.Accept(w.T, w.pods[i], f.At(podIP(i), 8080), func(c net.Conn) {
			fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr())
			io.Copy(c, c)
		})
		lab.ServePackets(w.T, w.pods[i], name, f.At(podIP(i), 8080))
	}
}

// connection is one that a client keeps.
type connection struct {
	net.Conn
	lines  *bufio.Reader
	server string
}

// connect opens a connection that a server other than one has taken.
func (w *world) connect(addr, butNot string) *connection {
	w.Helper()
	for range 64 {
		c, err := w.client.DialContext(w.Context(), "tcp", addr)
		if err != nil {
			w.Fatal(err)
		}
		k := &connection{Conn: c, lines: bufio.NewReader(c)}
		line, err := k.lines.ReadString('\n')
		if err != nil {
			w.Fatal(err)
		}
		if k.server, _, _ = strings.Cut(line, " "); k.server != butNot {
			return k
		}
		c.Close()
	}
	w.Fatalf("%s: nobody but %s answers", addr, butNot)
	return nil
}

// echo sends a line and returns what comes back.
func (c *connection) echo(line string) (string, error) {
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	back, err := c.lines.ReadString('\n')
	return strings.TrimSpace(back), err
}

// configure creates an object of MetalLB's, as soon as the API has its kind.
func (w *world) configure(kind, resource, name string, spec map[string]any) {
	w.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}
	client := w.dynamic.Resource(schema.GroupVersionResource{Group: "metallb.io", Version: "v1beta1", Resource: resource}).Namespace(namespace)
	lab.Eventually(w.T, kind+" "+name+" is created", func() error {
		_, err := client.Create(w.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		return err
	})
}

// balanced makes a Service of type LoadBalancer with endpoints on every node.
func (w *world) balanced(name string, edit func(*corev1.Service)) {
	w.Helper()
	w.Service(name, func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		if edit != nil {
			edit(s)
		}
	})
	w.Endpoints(name, lab.Endpoint("n1", podIP(1)), lab.Endpoint("n2", podIP(2)), lab.Endpoint("n3", podIP(3)))
}

// exchange replaces the endpoints of a Service without a moment in between.
func (w *world) exchange(service string, all ...discoveryv1.Endpoint) {
	w.Helper()
	client := w.Client.DiscoveryV1().EndpointSlices("default")
	for _, f := range lab.Families {
		slice, err := client.Get(w.Context(), service+strings.ToLower("-"+string(f)), metav1.GetOptions{})
		if err != nil {
			w.Fatal(err)
		}
		slice.Endpoints = nil
		for _, e := range all {
			e.Addresses = []string{f.Of(e.Addresses[0])}
			slice.Endpoints = append(slice.Endpoints, e)
		}
		if _, err := client.Update(w.Context(), slice, metav1.UpdateOptions{}); err != nil {
			w.Fatal(err)
		}
	}
}

// addresses are those of a Service, of each family.
func (w *world) addresses(name string) map[lab.Family]netip.Addr {
	w.Helper()
	out := map[lab.Family]netip.Addr{}
	lab.Eventually(w.T, "Service "+name+" has addresses", func() error {
		s, err := w.Client.CoreV1().Services("default").Get(w.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, i := range s.Status.LoadBalancer.Ingress {
			a := netip.MustParseAddr(i.IP)
			out[map[bool]lab.Family{false: lab.IPv4, true: lab.IPv6}[a.Is6()]] = a
		}
		if len(out) != len(lab.Families) {
			return fmt.Errorf("status %+v", s.Status)
		}
		return nil
	})
	return out
}

// at is port 80 of an address.
func at(a netip.Addr) string { return netip.AddrPortFrom(a, 80).String() }

// reached asks until every one of the servers named has answered the client, whom they see by its own address if seen is
// set, and fails at the first other answer.
func (w *world) reached(what string, k lab.Traffic, addr string, seen bool, want ...string) {
	w.Helper()
	missing := map[string]bool{}
	for _, name := range want {
		missing[name] = true
	}
	for range 64 {
		a := lab.Ask(w.client, k.Network, addr)
		if a.Err != "" || !slices.Contains(want, a.Server) || seen && a.Client != k.Of(clientIP) {
			w.Fatalf("%s: %s %s: %+v, want an answer of %v", what, k.Network, addr, a, want)
		}
		if delete(missing, a.Server); len(missing) == 0 {
			return
		}
	}
	w.Fatalf("%s: %s %s: never answered by all of %v", what, k.Network, addr, want)
}

// announcer is the one node that announces the addresses of a Service, none if they are announced by several or by nobody.
func (w *world) announcer(name string, addrs map[lab.Family]netip.Addr) (*node, error) {
	w.Helper()
	var found []*node
	for _, n := range w.node[1:] {
		for _, a := range addrs {
			if n.metric(fmt.Sprintf("metallb_speaker_announced{ip=%q,node=%q,protocol=%q,service=%q}", a, n.name, "layer2", "default/"+name)) == 1 {
				found = append(found, n)
			}
		}
	}
	if len(found) != len(addrs) || slices.ContainsFunc(found, func(n *node) bool { return n != found[0] }) {
		return nil, fmt.Errorf("%d announcements of %v", len(found), addrs)
	}
	return found[0], nil
}

// leader is the node whose process gives Services their addresses, nil if there is none.
func (w *world) leader() (*node, error) {
	w.Helper()
	l, err := w.Client.CoordinationV1().Leases(namespace).Get(w.Context(), lease, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for _, n := range w.node[1:] {
		if l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == n.name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the Lease is %+v", l.Spec)
}
