package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/service/route"
)

// loadBalancer makes the frontend at an outside address.
func loadBalancer(name, addr string, port uint16, p corev1.Protocol, backends []route.Backend, ranges ...string) route.Frontend {
	f := clusterIP(name, addr, port, p, backends)
	f.Kind = route.LoadBalancer
	for _, r := range ranges {
		f.Restricted = true
		f.SourceRanges = append(f.SourceRanges, netip.MustParsePrefix(r))
	}
	return f
}

func TestPacketAffinity(t *testing.T) { eachFamily(t, testPacketAffinity) }

func testPacketAffinity(t *testing.T, fam family) {
	r := newRig(t)
	var addrs []string
	for i := range 8 {
		addrs = append(addrs, fam.remotePod(i+2)+":8080")
	}
	b := back(addrs...)
	f := clusterIP("a", fam.vip(1), 80, corev1.ProtocolTCP, b)
	f.Affinity = time.Hour
	np := fam.nodePort("a", 30001, corev1.ProtocolTCP, b)
	np.Affinity = time.Hour
	r.apply(f, np)
	port, vip := 1000, fam.vip(1)+":80"
	connect := func(client, to string) string {
		t.Helper()
		port++
		_, out := r.ingress(r.uplink, segment{from: fmt.Sprintf("%s:%d", client, port), to: to, flags: syn}.packet())
		return parse(t, out).to
	}
	first := connect(fam.lan, vip)
	for range 20 {
		if got := connect(fam.lan, vip); got != first {
			t.Fatalf("one client went to %s and %s", first, got)
		}
	}
	if got := connect(fam.lan, fam.n1+":30001"); got != first {
		t.Errorf("through the NodePort the client went to %s, before to %s", got, first)
	}
	spread := map[string]bool{}
	for i := range 40 {
		spread[connect(fam.outsider(i), vip)] = true
	}
	if len(spread) < 4 {
		t.Errorf("40 clients went to %v only", slices.Collect(maps.Keys(spread)))
	}
	// An endpoint that takes nothing new loses its clients, and they stay where they go then.
	rest := slices.DeleteFunc(slices.Clone(b), func(b route.Backend) bool { return b.Addr.String() == first })
	f.Cluster, np.Cluster = rest, rest
	f.Draining, np.Draining = back(first), back(first)
	r.apply(f, np)
	second := connect(fam.lan, vip)
	if second == first || connect(fam.lan, vip) != second {
		t.Errorf("went to %s after %s was draining", second, first)
	}
	f.Cluster, np.Cluster, f.Draining, np.Draining = b, b, nil, nil
	r.apply(f, np)
	if got := connect(fam.lan, vip); got != second {
		t.Errorf("went to %s after %s, which is still there", got, second)
	}
	// Long after the last connection anything goes.
	clients := kernelTable[clientKey, lastBackend]{r.collection.Maps["clients"]}
	moved := false
	for range 50 {
		var old writes[clientKey, lastBackend]
		clients.each(func(k clientKey, l lastBackend) {
			l.Seen -= 3600
			old.set(k, l)
		})
		if err := clients.put(old.keys, old.values); err != nil {
			t.Fatal(err)
		}
		moved = moved || connect(fam.lan, vip) != second
	}
	if !moved {
		t.Errorf("the client is bound to %s for ever", second)
	}
}

func TestPacketSourceRanges(t *testing.T) { eachFamily(t, testPacketSourceRanges) }

func testPacketSourceRanges(t *testing.T, fam family) {
	r := newRig(t)
	b := back(fam.p2 + ":8080")
	lb, lan, one := fam.foreign, netip.PrefixFrom(ip(fam.lan), ip(fam.lan).BitLen()-8).Masked().String(), fam.outsider(7)
	onlyOne := netip.PrefixFrom(ip(one), ip(one).BitLen()).String()
	np := fam.nodePort("a", 30001, corev1.ProtocolTCP, b)
	set := func(ranges ...string) {
		t.Helper()
		r.apply(np, loadBalancer("a", lb, 80, corev1.ProtocolTCP, b, ranges...))
	}
	port := 1000
	try := func(client, to string) bool {
		t.Helper()
		port++
		v, _ := r.ingress(r.uplink, segment{from: fmt.Sprintf("%s:%d", client, port), to: to, flags: syn}.packet())
		if v != pass && v != shot {
			t.Errorf("verdict %d", int32(v))
		}
		return v == pass
	}
	set(lan, onlyOne)
	for client, want := range map[string]bool{fam.lan: true, fam.outsider(1): false, one: true, fam.outsider(8): false} {
		if got := try(client, lb+":80"); got != want {
			t.Errorf("%s may enter: %v", client, got)
		}
		if !try(client, fam.n1+":30001") {
			t.Errorf("%s may not use the NodePort", client)
		}
	}
	set(onlyOne)
	if try(fam.lan, lb+":80") {
		t.Error("a range that was taken away still holds")
	}
	f := loadBalancer("a", lb, 80, corev1.ProtocolTCP, b)
	f.Restricted = true // only ranges of the other family
	r.apply(np, f)
	if try(fam.lan, lb+":80") {
		t.Error("a restriction without ranges admits somebody")
	}
	set()
	if !try(fam.lan, lb+":80") {
		t.Error("not open without restriction")
	}
}

func TestLoadBalancerAddress(t *testing.T) { eachWay(t, testLoadBalancerAddress) }

func testLoadBalancerAddress(t *testing.T, fam family) {
	w := worldOf(t, fam)
	lb, services := fam.outsider(200), fam.services().String()
	w.inside(w.lan, func(h *netlink.Handle) error { return via(h, single(lb), fam.n1, "br") })
	w.serveTCP(w.p1, "p1", fam.p1+":8080")
	w.serveTCP(w.p2, "p2", fam.p2+":8080")
	tcp := corev1.ProtocolTCP
	local := loadBalancer("local", lb, 81, tcp, back(fam.p2+":8080"))
	local.Local = back(fam.p1 + ":8080")
	local.Decisions[route.FromOutside] = route.Decision{Set: route.LocalSet}
	w.apply(loadBalancer("a", lb, 80, tcp, back(fam.p2+":8080")), local, loadBalancer("some", lb, 82, tcp, back(fam.p2+":8080"), single(fam.lan)))
	pod, node := w.helperIn(w.q1), w.helperIn(w.n1)
	inside := map[string]func(network, addr string) answer{
		"socket of a pod":    pod.ask,
		"socket of the node": node.ask,
		"packet of a pod":    func(n, a string) answer { return ask(w.q1, n, a) },
		"packet of the node": func(n, a string) answer { return ask(w.n1, n, a) },
	}
	var wg sync.WaitGroup
	for what, client := range inside {
		wg.Go(func() {
			wantAnswer(t, what, client(fam.tcp, lb+":80"), "p2", lb+":80")
			wantAnswer(t, what+" under policy Local", client(fam.tcp, lb+":81"), "p2", lb+":81")
			if a := client(fam.tcp, lb+":82"); a.Err == "" || a.refused() {
				t.Errorf("%s outside the source ranges: %+v", what, a)
			}
		})
	}
	wg.Wait()
	wantAnswer(t, "outside", ask(w.lan, fam.tcp, lb+":80"), "p2", lb+":80")
	wantAnswer(t, "outside, within the source ranges", ask(w.lan, fam.tcp, lb+":82"), "p2", lb+":82")
	a := ask(w.lan, fam.tcp, lb+":81")
	wantAnswer(t, "outside under policy Local", a, "p1", lb+":81")
	if a.Client[:len(fam.lan)] != fam.lan {
		t.Errorf("under policy Local the server saw %s", a.Client)
	}
	wantRefused(t, "node to another port", ask(w.n1, fam.tcp, lb+":83"))
	wantRefused(t, "outside to another port", ask(w.lan, fam.tcp, lb+":83"))
	if got := vipRoutes(t, w.n1, fam); !slices.Equal(got, slices.Sorted(slices.Values([]string{services, single(lb)}))) {
		t.Errorf("routes %v", got)
	}
	if err := w.dp.ApplyAll(t.Context(), nil); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a", "local", "some"} {
		f := loadBalancer(name, lb, 80, tcp, nil)
		if err := w.dp.Apply(t.Context(), f.Service, nil); err != nil {
			t.Error(err)
		}
	}
	if got := vipRoutes(t, w.n1, fam); !slices.Equal(got, []string{services}) {
		t.Errorf("routes %v after all are gone", got)
	}
	// A route that an earlier process left goes with the sweep.
	w.apply(loadBalancer("a", lb, 80, tcp, back(fam.p2+":8080")))
	w.dp.Close()
	w.open()
	if err := w.dp.Sweep(); err != nil {
		t.Error(err)
	}
	if got := vipRoutes(t, w.n1, fam); !slices.Equal(got, []string{services}) {
		t.Errorf("routes %v after sweeping", got)
	}
}

func vipRoutes(t *testing.T, ns host.Netns, fam family) (out []string) {
	t.Helper()
	h, err := ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	l, err := h.LinkByName(routeLink)
	if err != nil {
		t.Fatal(err)
	}
	number := netlink.FAMILY_V4
	if fam.ipv6 {
		number = netlink.FAMILY_V6
	}
	routes, err := h.RouteList(l, number)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_KERNEL { // the multicast one that every link has
			out = append(out, r.Dst.String())
		}
	}
	slices.Sort(out)
	return out
}

func TestSocketAffinity(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.serveTCP(w.p2, fmt.Sprint("p2-", i), fmt.Sprintf("%s:%d", p2IP, 8080+i))
	}
	var addrs []string
	for i := range 6 {
		addrs = append(addrs, fmt.Sprintf("%s:%d", p2IP, 8080+i))
	}
	f := clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(addrs...))
	f.Affinity = time.Hour
	w.apply(f)
	one, other := w.helperIn(w.q1), w.helperIn(w.q1)
	first := one.ask("tcp4", "10.96.1.1:80")
	for range 10 {
		// Two processes of a pod are one client.
		wantAnswer(t, "same process", one.ask("tcp4", "10.96.1.1:80"), first.Server, "")
		wantAnswer(t, "same pod", other.ask("tcp4", "10.96.1.1:80"), first.Server, "")
	}
}

// TestChecksumsWithoutOffload has packets finished in software on their last hop, so that receivers check what the
// programs made of them.
func TestChecksumsWithoutOffload(t *testing.T) { eachWay(t, testChecksumsWithoutOffload) }

func testChecksumsWithoutOffload(t *testing.T, fam family) {
	w := worldOf(t, fam)
	w.inside(w.lan, outsideRoute)
	for _, dev := range []string{"vp1", "vq1", "eth0"} {
		if err := w.n1.Do(func() error { return setTxChecksum(dev, false) }); err != nil {
			t.Skipf("switch checksum offload off: %v", err)
		}
	}
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	w.apply(clusterIP("empty", fam.vip(2), 80, tcp, nil), clusterIP("empty-udp", fam.vip(3), 80, udp, nil))
	for from, ns := range map[string]host.Netns{"pod": w.q1, "outside": w.lan} {
		wantRefused(t, from+" by TCP", ask(ns, fam.tcp, fam.vip(2)+":80"))
		wantRefused(t, from+" by UDP", ask(ns, fam.udp, fam.vip(3)+":80"))
	}
	for _, s := range []struct {
		ns   host.Netns
		name string
		ip   string
	}{{w.p1, "p1", fam.p1}, {w.p2, "p2", fam.p2}} {
		w.serveTCP(s.ns, s.name, s.ip+":8080")
		w.serveUDP(s.ns, s.name, s.ip+":8080")
		b := back(s.ip + ":8080")
		w.apply(clusterIP("tcp", fam.vip(1), 80, tcp, b), clusterIP("udp", fam.vip(1), 80, udp, b))
		for from, ns := range map[string]host.Netns{"pod": w.q1, "node": w.n1, "outside": w.lan} {
			if err := bulk(ns, fam.vip(1)+":80", 1<<20); err != nil {
				t.Errorf("%s to %s: %v", from, s.name, err)
			}
			if err := datagram(ns, fam.vip(1)+":80", 100); err != nil {
				t.Errorf("%s to %s: %v", from, s.name, err)
			}
		}
	}
}
