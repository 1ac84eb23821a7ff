package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func hostPortPod(ports ...corev1.ContainerPort) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Ports: ports}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.244.1.2",
			PodIPs: []corev1.PodIP{{IP: "10.244.1.2"}, {IP: "fd00:244:1::2"}}},
	}
}

var dualNode = Node{
	Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr("172.30.0.11"), netip.MustParseAddr("fd00:30::11")},
	OwnPorts: []OwnPort{{10250, corev1.ProtocolTCP}},
}

func TestHostPorts(t *testing.T) {
	web := corev1.ContainerPort{HostPort: 80, ContainerPort: 8080}
	at := func(ip string) corev1.ContainerPort { p := web; p.HostIP = ip; return p }
	dns := corev1.ContainerPort{HostPort: 53, ContainerPort: 5353, Protocol: corev1.ProtocolUDP}
	both := []string{
		"127.0.0.1:80/TCP 10.244.1.2:8080", "172.30.0.11:80/TCP 10.244.1.2:8080",
		"[::1]:80/TCP [fd00:244:1::2]:8080", "[fd00:30::11]:80/TCP [fd00:244:1::2]:8080",
	}
	always := corev1.ContainerRestartPolicyAlways
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want []string
		warn string
	}{
		{"no hostPort", hostPortPod(corev1.ContainerPort{ContainerPort: 80}), nil, ""},
		{"every address", hostPortPod(web), both, ""},
		{"0.0.0.0 is IPv4", hostPortPod(at("0.0.0.0")), both[:2], ""},
		{":: is IPv6", hostPortPod(at("::")), both[2:], ""},
		{"the node's address", hostPortPod(at("172.30.0.11")), both[1:2], ""},
		{"the node's IPv6 address", hostPortPod(at("fd00:30::11")), both[3:], ""},
		{"loopback", hostPortPod(at("127.0.0.1")), both[:1], ""},
		{"another loopback address", hostPortPod(at("127.1.2.3")), []string{"127.1.2.3:80/TCP 10.244.1.2:8080"}, ""},
		{"somebody else's address", hostPortPod(at("8.8.8.8")), nil, "hostIP 8.8.8.8 is none of node n1's addresses"},
		{"the kubelet's port", hostPortPod(corev1.ContainerPort{HostPort: 10250, ContainerPort: 1}),
			[]string{"127.0.0.1:10250/TCP 10.244.1.2:1", "[::1]:10250/TCP [fd00:244:1::2]:1"}, "the node itself uses the port"},
		{"the kubelet's port at an address", hostPortPod(corev1.ContainerPort{HostPort: 10250, ContainerPort: 1, HostIP: "172.30.0.11"}), nil, "the node itself uses the port"},
		{"the kubelet's port at the loopback", hostPortPod(corev1.ContainerPort{HostPort: 10250, ContainerPort: 1, HostIP: "127.0.0.1"}),
			[]string{"127.0.0.1:10250/TCP 10.244.1.2:1"}, ""},
		{"the kubelet's port of another protocol", hostPortPod(corev1.ContainerPort{HostPort: 10250, ContainerPort: 1, HostIP: "172.30.0.11", Protocol: corev1.ProtocolUDP}),
			[]string{"172.30.0.11:10250/UDP 10.244.1.2:1"}, ""},
		{"no address", hostPortPod(at("example.org")), nil, ""},
		{"UDP", hostPortPod(dns, at("127.0.0.1")), []string{
			"127.0.0.1:53/UDP 10.244.1.2:5353", "172.30.0.11:53/UDP 10.244.1.2:5353", "127.0.0.1:80/TCP 10.244.1.2:8080",
			"[::1]:53/UDP [fd00:244:1::2]:5353", "[fd00:30::11]:53/UDP [fd00:244:1::2]:5353"}, ""},
		{"SCTP", hostPortPod(corev1.ContainerPort{HostPort: 80, ContainerPort: 8080, HostIP: "127.0.0.1", Protocol: corev1.ProtocolSCTP}),
			[]string{"127.0.0.1:80/SCTP 10.244.1.2:8080"}, "only TCP and UDP are"},
		{"the same twice", hostPortPod(at("127.0.0.1"), corev1.ContainerPort{HostPort: 80, ContainerPort: 9090, HostIP: "127.0.0.1"}), both[:1], ""},
		{"node's network", change(hostPortPod(web), func(p *corev1.Pod) { p.Spec.HostNetwork = true }), nil, ""},
		{"not an address yet", change(hostPortPod(web), func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs = "", nil }), nil, ""},
		{"one family", change(hostPortPod(web), func(p *corev1.Pod) { p.Status.PodIPs = nil }), both[:2], ""},
		{"pending", change(hostPortPod(web), func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }), both, ""},
		{"succeeded", change(hostPortPod(web), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), nil, ""},
		{"failed", change(hostPortPod(web), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), nil, ""},
		{"init container", change(hostPortPod(), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Ports: []corev1.ContainerPort{web}}}
		}), nil, ""},
		{"sidecar", change(hostPortPod(), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Ports: []corev1.ContainerPort{web}, RestartPolicy: &always}}
		}), both, ""},
		{"no Pod", nil, nil, ""},
	} {
		ports := HostPorts(c.pod)
		fs := CompileHostPorts(types.NamespacedName{Namespace: "shop", Name: "web"}, ports, dualNode)
		var got []string
		for _, f := range fs {
			got = append(got, fmt.Sprintf("%s/%s %s", netip.AddrPortFrom(f.Addr, f.Port), f.Protocol, f.Cluster[0].Addr))
			inside := !f.Addr.IsLoopback()
			if (f.Decisions[FromPod].Verdict == Forward) != inside || (f.Decisions[FromOutside].Verdict == Forward) != inside || f.Decisions[FromHost].Verdict != Forward {
				t.Errorf("%s: %s decides %+v", c.name, &f, f.Decisions)
			}
			if f.Decisions[FromPod].Masquerade || f.Decisions[FromOutside].Masquerade {
				t.Errorf("%s: %s hides its clients", c.name, &f)
			}
			if pod, is := PodOf(f.Service); !is || pod.String() != "shop/web" {
				t.Errorf("%s: frontend of %s", c.name, f.Service)
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if w := WarnHostPorts(ports, dualNode); (w == "") != (c.warn == "") || !strings.Contains(w, c.warn) {
			t.Errorf("%s: warning %q, want %q", c.name, w, c.warn)
		}
		var explained []Frontend
		for _, e := range ExplainHostPorts(types.NamespacedName{Namespace: "shop", Name: "web"}, ports, dualNode) {
			explained = append(explained, e.Frontends...)
			if len(e.Candidates) != 1 || !e.Candidates[0].Cluster.In() || e.Candidates[0].Pod != "web" {
				t.Errorf("%s: candidates %+v", c.name, e.Candidates)
			}
		}
		if fmt.Sprint(explained) != fmt.Sprint(fs) {
			t.Errorf("%s: explained %v, compiled %v", c.name, explained, fs)
		}
	}
}

func change(p *corev1.Pod, by func(*corev1.Pod)) *corev1.Pod { by(p); return p }

// TestHostPortNamesDiffer: the ports of a Pod must not share backends in the data plane, which tells them by these names.
func TestHostPortNamesDiffer(t *testing.T) {
	ports := HostPorts(hostPortPod(
		corev1.ContainerPort{HostPort: 80, ContainerPort: 1, HostIP: "127.0.0.1"}, corev1.ContainerPort{HostPort: 80, ContainerPort: 2, HostIP: "172.30.0.11"},
		corev1.ContainerPort{HostPort: 81, ContainerPort: 1}, corev1.ContainerPort{HostPort: 80, ContainerPort: 3, Protocol: corev1.ProtocolUDP}))
	seen := map[string]HostPort{}
	for _, p := range ports {
		k := fmt.Sprint(p.name(), p.Protocol, p.Backend.Addr().Is6())
		if o, twice := seen[k]; twice {
			t.Errorf("%+v and %+v are both %s", o, p, k)
		}
		seen[k] = p
	}
}
