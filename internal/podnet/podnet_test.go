package podnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"minato/internal/host"
)

func TestAddressesRestBeforeReuse(t *testing.T) {
	a, err := openAddresses(t.TempDir(), netip.MustParsePrefix("10.244.1.0/29"))
	if err != nil {
		t.Fatal(err)
	}
	take := func(id string) netip.Addr {
		t.Helper()
		ip, err := a.allocate(id)
		if err != nil {
			t.Fatal(err)
		}
		return ip
	}
	// A /29 has 8 addresses, without network, gateway and broadcast: 5.
	for i := range 5 {
		want := netip.AddrFrom4([4]byte{10, 244, 1, byte(2 + i)})
		if got := take(fmt.Sprint(i)); got != want {
			t.Errorf("address %d = %s, want %s", i, got, want)
		}
	}
	if _, err := a.allocate("one too many"); !errors.Is(err, ErrExhausted) {
		t.Errorf("full range: %v, want ErrExhausted", err)
	}
	if got, want := take("3"), netip.MustParseAddr("10.244.1.5"); got != want {
		t.Errorf("asked again = %s, want the same %s", got, want)
	}
	for _, id := range []string{"1", "3"} {
		ip, _ := a.lookup(id)
		if err := a.release(ip); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := take("new"), netip.MustParseAddr("10.244.1.3"); got != want {
		t.Errorf("after release = %s, want %s", got, want)
	}
	if got, want := take("newer"), netip.MustParseAddr("10.244.1.5"); got != want {
		t.Errorf("next after release = %s, want %s", got, want)
	}
	again, err := openAddresses(a.dir, a.prefix)
	if err != nil {
		t.Fatal(err)
	}
	if ip, ok := again.lookup("new"); !ok || ip != netip.MustParseAddr("10.244.1.3") {
		t.Errorf("after a restart = %s, %v", ip, ok)
	}
}

func node(name, address, cidr string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{cidr}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	}
}

// testNode makes a node on the bridge with one Pod attached.
func testNode(t *testing.T, hub *host.Net, number byte) (ns, pod host.Netns, podIP netip.Addr, network *Network) {
	t.Helper()
	create := func(name string) host.Netns {
		ns, err := host.CreateNetns(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { host.DeleteNetns(ns) })
		return ns
	}
	ns, pod = create(fmt.Sprintf("mt-podnet-n%d", number)), create(fmt.Sprintf("mt-podnet-p%d", number))
	address := netip.AddrFrom4([4]byte{172, 30, 0, 10 + number})
	if err := hub.AddVeth(fmt.Sprintf("n%d", number), "br", nil, host.VethEnd{Netns: ns, Name: "eth0"}, 1400); err != nil {
		t.Fatal(err)
	}
	inside, err := host.OpenNet(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if err := errors.Join(inside.SetUp("eth0", ""), inside.AddAddress("eth0", netip.PrefixFrom(address, 16)),
		ns.Sysctls(map[string]string{"net/ipv4/ip_forward": "1"})); err != nil {
		t.Fatal(err)
	}
	attached := ""
	network, err = New(Config{
		Netns: ns, NodeIP: address, MTU: 1400, Dir: t.TempDir(),
		PodCIDR:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, number, 0}), 24),
		OnAttach: func(link string) error { attached = link; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	for range 2 {
		ips, err := network.Attach(t.Context(), "sandbox", pod.Path)
		if err != nil {
			t.Fatal(err)
		}
		podIP = ips[0]
	}
	if attached != "pod2" {
		t.Errorf("OnAttach saw %q, want pod2", attached)
	}
	return ns, pod, podIP, network
}

func TestPodsOfTwoNodesTalk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	lan, err := host.CreateNetns("mt-podnet-lan")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.DeleteNetns(lan) })
	hub, err := host.OpenNet(lan)
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	if err := hub.EnsureBridge("br", netip.MustParsePrefix("172.30.0.1/16"), 1400); err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(node("node-1", "172.30.0.11", "10.244.1.0/24"), node("node-2", "172.30.0.12", "10.244.2.0/24"))
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes().Informer()
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())

	ns1, pod1, ip1, _ := testNode(t, hub, 1)
	ns2, pod2, ip2, net2 := testNode(t, hub, 2)
	for name, ns := range map[string]host.Netns{"node-1": ns1, "node-2": ns2, "": lan} {
		link := "eth0"
		if name == "" {
			link = "br"
		}
		r, err := NewRouter(RouterConfig{Netns: ns, Link: link, Self: name, Nodes: nodes, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		go r.Run(t.Context())
	}
	l, err := pod1.Listen(t.Context(), "tcp", netip.AddrPortFrom(ip1, 80).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, c.RemoteAddr().String())
			c.Close()
		}
	}()
	for _, from := range []struct {
		ns   host.Netns
		want string
	}{{pod2, ip2.String()}, {ns1, "172.30.0.11"}, {lan, "172.30.0.1"}} {
		if got := dialUntil(t, from.ns, netip.AddrPortFrom(ip1, 80).String()); got != from.want {
			t.Errorf("from %s the Pod saw %s, want %s", from.ns.Name, got, from.want)
		}
	}
	for range 2 {
		if err := net2.Detach(t.Context(), "sandbox"); err != nil {
			t.Fatal(err)
		}
	}
	if links, err := net2.Links(); err != nil || len(links) != 0 {
		t.Errorf("links after Detach = %q, %v", links, err)
	}
}

// dialUntil connects until it works, as routes come a little after the nodes.
func dialUntil(t *testing.T, ns host.Netns, address string) (remote string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, time.Second)
		c, err := ns.DialContext(try, "tcp", address)
		stop()
		if err == nil {
			defer c.Close()
			data, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			hostPart, _, _ := net.SplitHostPort(string(data))
			return hostPart
		}
		if ctx.Err() != nil {
			t.Fatalf("dial %s from %s: %v", address, ns.Name, err)
		}
	}
}
