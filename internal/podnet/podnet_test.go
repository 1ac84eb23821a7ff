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
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// Addresses of a test network of two families.
func nodeIPs(number byte) []netip.Addr {
	six := netip.MustParseAddr("fd00:172:30::10").As16()
	six[15] += number
	return []netip.Addr{netip.AddrFrom4([4]byte{172, 30, 0, 10 + number}), netip.AddrFrom16(six)}
}

func podCIDRs(number byte) []netip.Prefix {
	six := netip.MustParseAddr("fd00:10:244::").As16()
	six[7] = number
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, number, 0}), 24),
		netip.PrefixFrom(netip.AddrFrom16(six), 64),
	}
}

func node(name string, number byte) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, p := range podCIDRs(number) {
		n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, p.String())
	}
	for _, a := range nodeIPs(number) {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	return n
}

func TestRangesAndAddressesMatch(t *testing.T) {
	ips, cidrs := nodeIPs(1), podCIDRs(1)
	for _, bad := range []Config{
		{NodeIPs: ips, PodCIDRs: cidrs[:1]},
		{NodeIPs: ips[:1], PodCIDRs: cidrs[1:]},
		{NodeIPs: []netip.Addr{ips[1], ips[0]}, PodCIDRs: cidrs},
		{},
	} {
		bad.Dir = t.TempDir()
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), "do not match") {
			t.Errorf("New(%v, %v) = %v", bad.NodeIPs, bad.PodCIDRs, err)
		}
	}
}

func TestIPv6AddressesOfANode(t *testing.T) {
	a, err := openAddresses(t.TempDir(), podCIDRs(1)[1])
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"fd00:10:244:1::2", "fd00:10:244:1::3"} {
		if ip, err := a.allocate(fmt.Sprint(i)); err != nil || ip.String() != want {
			t.Errorf("address %d = %s, %v, want %s", i, ip, err, want)
		}
	}
	again, err := openAddresses(a.dir, a.prefix)
	if err != nil {
		t.Fatal(err)
	}
	if ip, ok := again.lookup("1"); !ok || ip.String() != "fd00:10:244:1::3" {
		t.Errorf("after a restart = %s, %v", ip, ok)
	}
	n := Network{addresses: []*addresses{a}}
	if got := n.linkName(netip.MustParseAddr("fd00:10:244:1::ffff:ffff")); got != "pod4294967295" || len(got) > 15 {
		t.Errorf("link name %s", got)
	}
}

// testNode makes a node on the bridge with one Pod attached.
func testNode(t *testing.T, hub *host.Net, number byte) (ns, pod host.Netns, podIPs []netip.Addr, network *Network) {
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
	if err := errors.Join(ns.EnableIPv6(), ns.Sysctls(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})); err != nil {
		t.Fatal(err)
	}
	ips := nodeIPs(number)
	if err := hub.AddVeth(fmt.Sprintf("n%d", number), "br", nil, host.VethEnd{Netns: ns, Name: "eth0"}, 1400); err != nil {
		t.Fatal(err)
	}
	inside, err := host.OpenNet(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if err := errors.Join(inside.SetUp("eth0", ""), inside.AddAddress("eth0", netip.PrefixFrom(ips[0], 16)),
		inside.AddAddress("eth0", netip.PrefixFrom(ips[1], 64))); err != nil {
		t.Fatal(err)
	}
	attached := ""
	network, err = New(Config{
		Netns: ns, NodeIPs: ips, MTU: 1400, Dir: t.TempDir(), PodCIDRs: podCIDRs(number),
		OnAttach: func(link string) error { attached = link; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	for range 2 {
		if podIPs, err = network.Attach(t.Context(), "sandbox", pod.Path); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range podCIDRs(number) {
		if want := p.Addr().Next().Next(); len(podIPs) != 2 || podIPs[i] != want {
			t.Fatalf("the Pod has %v, want %s among them", podIPs, want)
		}
	}
	if attached != "pod2" {
		t.Errorf("OnAttach saw %q, want pod2", attached)
	}
	return ns, pod, podIPs, network
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
	if err := hub.EnsureBridge("br", 1400, netip.MustParsePrefix("172.30.0.1/16"), netip.MustParsePrefix("fd00:172:30::1/64")); err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(node("node-1", 1), node("node-2", 2))
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes().Informer()
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())

	ns1, pod1, ips1, _ := testNode(t, hub, 1)
	ns2, pod2, ips2, net2 := testNode(t, hub, 2)
	for name, ns := range map[string]host.Netns{"node-1": ns1, "node-2": ns2, "": lan} {
		link := "eth0"
		if name == "" {
			link = "br"
		}
		go NewRouter(RouterConfig{Netns: ns, Link: link, Self: name, Nodes: nodes, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context())
	}
	for i, from2 := range ips2 {
		address := netip.AddrPortFrom(ips1[i], 80).String()
		answerWithClient(t, pod1, address)
		for _, from := range []struct {
			ns   host.Netns
			want string
		}{{pod2, from2.String()}, {ns1, nodeIPs(1)[i].String()}, {lan, []string{"172.30.0.1", "fd00:172:30::1"}[i]}} {
			if got := dialUntil(t, from.ns, address); got != from.want {
				t.Errorf("from %s the Pod saw %s, want %s", from.ns.Name, got, from.want)
			}
		}
	}
	for i, cidr := range podCIDRs(1) {
		nobody := netip.AddrPortFrom(ips1[i].Next(), 80).String()
		for name, ns := range map[string]host.Netns{"its own node": ns1, "another node": ns2, "a Pod there": pod2, "outside": lan} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			c, err := ns.DialContext(ctx, "tcp", nobody)
			cancel()
			if err == nil {
				c.Close()
			}
			// The second is what ICMPv6's "no route to destination" becomes.
			if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("dial %s of %s from %s: %v, want to be told that it is unreachable", nobody, cidr, name, err)
			}
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
	if again, err := net2.Attach(t.Context(), "next", pod2.Path); err != nil || again[0] == ips2[0] || again[1] == ips2[1] {
		t.Errorf("the next Pod has %v, %v; want addresses that have rested, unlike %v", again, err, ips2)
	}
}

// answerWithClient answers each client with its address.
func answerWithClient(t *testing.T, ns host.Netns, address string) {
	t.Helper()
	l, err := ns.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
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
