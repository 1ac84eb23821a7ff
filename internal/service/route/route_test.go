package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

var here = Node{Name: "n1", Zone: "z1"}

// svc makes a Service of type ClusterIP with one TCP port 80; options change it.
func svc(options ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"},
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, o := range options {
		o(s)
	}
	return s
}

func nodePortType(s *corev1.Service) {
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports[0].NodePort = 30080
}

func loadBalancer(ips ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		nodePortType(s)
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		for _, ip := range ips {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
		}
	}
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
}

// slice makes an IPv4 slice from endpoints in short form: "1 n1 ready", where 1 is the address 10.0.0.1 and the
// states are ready, unready, draining (serving while terminating) and gone (terminating, not serving), followed by
// hints such as node=n1 or zone=z1.
func slice(endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr(int32(8080)), Name: ptr(""), Protocol: ptr(corev1.ProtocolTCP)}},
	}
	for _, text := range endpoints {
		f := strings.Fields(text)
		e := discoveryv1.Endpoint{Addresses: []string{"10.0.0." + f[0]}, NodeName: ptr(f[1])}
		c := &e.Conditions
		switch f[2] {
		case "ready":
			c.Ready, c.Serving, c.Terminating = ptr(true), ptr(true), ptr(false)
		case "unready":
			c.Ready, c.Serving, c.Terminating = ptr(false), ptr(false), ptr(false)
		case "draining":
			c.Ready, c.Serving, c.Terminating = ptr(false), ptr(true), ptr(true)
		case "gone":
			c.Ready, c.Serving, c.Terminating = ptr(false), ptr(false), ptr(true)
		case "published": // publishNotReadyAddresses, while terminating
			c.Ready, c.Serving, c.Terminating = ptr(true), ptr(false), ptr(true)
		case "unknown": // absent conditions
		default:
			panic(text)
		}
		for _, h := range f[3:] {
			if e.Hints == nil {
				e.Hints = &discoveryv1.EndpointHints{}
			}
			kind, name, _ := strings.Cut(h, "=")
			if kind == "node" {
				e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: name})
			} else {
				e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: name})
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// short writes backends as the last part of their addresses.
func short(bs []Backend) string {
	var out []string
	for _, b := range bs {
		out = append(out, fmt.Sprint(b.Addr.Addr().As4()[3]))
	}
	return strings.Join(out, " ")
}

func TestCandidateSets(t *testing.T) {
	for _, c := range []struct {
		name                     string
		endpoints                []string
		cluster, local, draining string
	}{
		{"none", nil, "", "", ""},
		{"ready only", []string{"1 n1 ready", "2 n2 ready", "3 n1 unready", "4 n2 gone"}, "1 2", "1", ""},
		{"absent conditions mean ready", []string{"1 n1 unknown"}, "1", "1", ""},
		{"terminating are left out while one is ready", []string{"1 n1 ready", "2 n1 draining"}, "1", "1", "2"},
		{"terminating are the fallback", []string{"1 n1 draining", "2 n2 draining", "3 n2 gone", "4 n2 unready"}, "1 2", "1", ""},
		{"local falls back by itself", []string{"1 n1 draining", "2 n2 ready"}, "2", "1", ""},
		{"cluster does not fall back because local has none", []string{"1 n2 ready", "2 n2 draining"}, "1", "", "2"},
		{"unready stay out even if they are all", []string{"1 n1 unready", "2 n2 gone"}, "", "", ""},
		{"published not ready addresses count as ready", []string{"1 n1 published", "2 n2 unready"}, "1", "1", ""},

		{"same zone", []string{"1 n1 ready zone=z1", "2 n2 ready zone=z2"}, "1", "1", "2"},
		{"zones don't bind the local set", []string{"1 n1 ready zone=z2", "2 n2 ready zone=z1"}, "2", "1", ""},
		{"one without zone hint switches them off", []string{"1 n1 ready zone=z1", "2 n2 ready"}, "1 2", "1", ""},
		{"an unready one without hint does not", []string{"1 n1 ready zone=z1", "2 n2 ready zone=z2", "3 n2 unready"}, "1", "1", "2"},
		{"no endpoint for the zone", []string{"1 n1 ready zone=z2", "2 n2 ready zone=z3"}, "1 2", "1", ""},
		{"an unready one in the zone is no match", []string{"1 n1 unready zone=z1", "2 n2 ready zone=z2"}, "2", "", ""},
		{"several zones in a hint", []string{"1 n1 ready zone=z1 zone=z2", "2 n2 ready zone=z2"}, "1", "1", "2"},
		{"same node before same zone", []string{"1 n1 ready node=n1 zone=z1", "2 n2 ready node=n2 zone=z1"}, "1", "1", "2"},
		{"same zone where the node has none", []string{"1 n2 ready node=n2 zone=z1", "2 n3 ready node=n3 zone=z2"}, "1", "", "2"},
		{"same zone where one lacks a node hint", []string{"1 n1 ready node=n1 zone=z1", "2 n2 ready zone=z1", "3 n3 ready zone=z2"}, "1 2", "1", "3"},
		{"the fallback ignores topology", []string{"1 n1 draining zone=z1", "2 n2 draining zone=z2"}, "1 2", "1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Compile(svc(), []*discoveryv1.EndpointSlice{slice(c.endpoints...)}, here)[0]
			got := []string{short(f.Cluster), short(f.Local), short(f.Draining)}
			if diff := cmp.Diff([]string{c.cluster, c.local, c.draining}, got); diff != "" {
				t.Errorf("cluster, local, draining (-want +got):\n%s", diff)
			}
		})
	}
}

// word writes a decision as "forward cluster masquerade".
func word(d Decision) string {
	s := d.Verdict.String()
	if d.Verdict == Forward {
		s += " " + d.Set.String()
	}
	if d.Masquerade {
		s += " masquerade"
	}
	return s
}

func TestDecisions(t *testing.T) {
	const remote, local, none = "1 n2 ready", "1 n1 ready", "1 n1 unready"
	cluster, masq, reject, drop := "forward cluster", "forward cluster masquerade", "reject", "drop"
	for _, c := range []struct {
		name     string
		options  []func(*corev1.Service)
		endpoint string
		// by kind: pod, host, outside
		clusterIP, nodePort [Classes]string
	}{
		{"policy Cluster", nil, remote, [3]string{cluster, cluster, masq}, [3]string{cluster, masq, masq}},
		{"no endpoints", nil, none, [3]string{reject, reject, reject}, [3]string{reject, reject, reject}},
		{"external Local, local endpoint", []func(*corev1.Service){externalLocal}, local,
			[3]string{cluster, cluster, masq}, [3]string{cluster, masq, "forward local"}},
		{"external Local, none local", []func(*corev1.Service){externalLocal}, remote,
			[3]string{cluster, cluster, masq}, [3]string{cluster, masq, drop}},
		{"external Local, none at all", []func(*corev1.Service){externalLocal}, none,
			[3]string{reject, reject, reject}, [3]string{reject, reject, reject}},
		{"internal Local, local endpoint", []func(*corev1.Service){internalLocal}, local,
			[3]string{"forward local", "forward local", "forward local"}, [3]string{cluster, masq, masq}},
		{"internal Local, none local", []func(*corev1.Service){internalLocal}, remote,
			[3]string{drop, drop, drop}, [3]string{cluster, masq, masq}},
		{"both Local, none local", []func(*corev1.Service){internalLocal, externalLocal}, remote,
			[3]string{drop, drop, drop}, [3]string{cluster, masq, drop}},
		{"both Local, local draining", []func(*corev1.Service){internalLocal, externalLocal}, "1 n1 draining",
			[3]string{"forward local", "forward local", "forward local"}, [3]string{cluster, masq, "forward local"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := svc(append([]func(*corev1.Service){nodePortType}, c.options...)...)
			fs := Compile(s, []*discoveryv1.EndpointSlice{slice(c.endpoint)}, here)
			if len(fs) != 2 || fs[0].Kind != ClusterIP || fs[1].Kind != NodePort {
				t.Fatalf("frontends %v", fs)
			}
			for i, want := range [][Classes]string{c.clusterIP, c.nodePort} {
				var got [Classes]string
				for class, d := range fs[i].Decisions {
					got[class] = word(d)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: pod, host, outside (-want +got):\n%s", fs[i].Kind, diff)
				}
			}
		})
	}
}

// names lists the frontends of a Service.
func names(fs []Frontend) []string {
	var out []string
	for i := range fs {
		s := fs[i].String()
		s, _, _ = strings.Cut(s, " of ")
		if fs[i].Restricted {
			s += fmt.Sprint(" from ", fs[i].SourceRanges)
		}
		if fs[i].Affinity > 0 {
			s += fmt.Sprint(" affinity ", fs[i].Affinity)
		}
		out = append(out, s)
	}
	return out
}

func TestFrontends(t *testing.T) {
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		want []string
	}{
		{"cluster IP", svc(), []string{"ClusterIP 10.96.0.1:80/TCP"}},
		{"only the older field", svc(func(s *corev1.Service) { s.Spec.ClusterIPs = nil }), []string{"ClusterIP 10.96.0.1:80/TCP"}},
		{"headless", svc(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} }), nil},
		{"no address yet", svc(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil }), nil},
		{"external name", svc(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil},
		{"another proxy's", svc(func(s *corev1.Service) { s.Labels = map[string]string{LabelProxyName: "x"} }), nil},
		{"node port", svc(nodePortType), []string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP"}},
		{"node port left over from an earlier type", svc(nodePortType, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
			[]string{"ClusterIP 10.96.0.1:80/TCP"}},
		{"external IPs", svc(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.1", "fd00::1", "rubbish"} }),
			[]string{"ClusterIP 10.96.0.1:80/TCP", "ExternalIP 192.0.2.1:80/TCP"}},
		{"load balancer", svc(loadBalancer("192.0.2.1", "fd00::1")),
			[]string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP", "LoadBalancer 192.0.2.1:80/TCP"}},
		{"load balancer without node ports", svc(loadBalancer("192.0.2.1"), func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 0 }),
			[]string{"ClusterIP 10.96.0.1:80/TCP", "LoadBalancer 192.0.2.1:80/TCP"}},
		{"load balancer that is a proxy", svc(loadBalancer("192.0.2.1"), func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress[0].IPMode = ptr(corev1.LoadBalancerIPModeProxy)
		}), []string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP"}},
		{"load balancer by name", svc(loadBalancer(), func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.example"}}
		}), []string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP"}},
		{"source ranges hold for the load balancer only", svc(loadBalancer("192.0.2.1"), func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{"192.0.2.2"}
			s.Spec.LoadBalancerSourceRanges = []string{" 198.51.100.7/24 ", "fd00::/8"}
		}), []string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP", "ExternalIP 192.0.2.2:80/TCP",
			"LoadBalancer 192.0.2.1:80/TCP from [198.51.100.0/24]"}},
		{"source ranges of the other family admit nobody", svc(loadBalancer("192.0.2.1"), func(s *corev1.Service) {
			s.Spec.LoadBalancerSourceRanges = []string{"fd00::/8"}
		}), []string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP", "LoadBalancer 192.0.2.1:80/TCP from []"}},
		{"one address twice", svc(loadBalancer("192.0.2.1"), func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{"192.0.2.1", "192.0.2.1"}
			s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"}
		}), []string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP", "LoadBalancer 192.0.2.1:80/TCP from [198.51.100.0/24]"}},
		{"affinity", svc(func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		}), []string{"ClusterIP 10.96.0.1:80/TCP affinity 3h0m0s"}},
		{"affinity with a timeout", svc(func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(10))}}
		}), []string{"ClusterIP 10.96.0.1:80/TCP affinity 10s"}},
		{"two ports", svc(func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 80, Protocol: corev1.ProtocolUDP}}
		}), []string{"ClusterIP 10.96.0.1:80/TCP", "ClusterIP 10.96.0.1:80/UDP"}},
		{"dual stack", svc(nodePortType, func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.1", "fd00:96::1"} }),
			[]string{"ClusterIP 10.96.0.1:80/TCP", "NodePort node:30080/TCP", "ClusterIP [fd00:96::1]:80/TCP", "NodePort node6:30080/TCP"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, names(Compile(c.svc, nil, here))); diff != "" {
				t.Errorf("frontends (-want +got):\n%s", diff)
			}
		})
	}
	if Compile(nil, nil, here) != nil {
		t.Error("a Service that is gone has frontends")
	}
}

func TestEndpointsArePairedByPortName(t *testing.T) {
	s := svc(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "none", Port: 1}}
	})
	sl := slice("1 n1 ready")
	sl.Ports = []discoveryv1.EndpointPort{
		{Name: ptr("web"), Port: ptr(int32(8080))},
		{Name: ptr("dns"), Port: ptr(int32(5353)), Protocol: ptr(corev1.ProtocolUDP)},
		{Name: ptr("dns"), Port: ptr(int32(5354)), Protocol: ptr(corev1.ProtocolTCP)},
		{Name: ptr("none")},
	}
	// The same port may have another number in another slice.
	other := slice("2 n1 ready")
	other.Ports = []discoveryv1.EndpointPort{{Name: ptr("web"), Port: ptr(int32(9090))}}
	var got []string
	for _, f := range Compile(s, []*discoveryv1.EndpointSlice{other, sl, nil}, here) {
		got = append(got, fmt.Sprint(f.PortName, f.Cluster))
	}
	want := []string{"web[{10.0.0.1:8080 true} {10.0.0.2:9090 true}]", "dns[{10.0.0.1:5353 true}]", "none[]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("backends (-want +got):\n%s", diff)
	}
}

func TestFamiliesAreApart(t *testing.T) {
	s := svc(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"fd00:96::1", "10.96.0.1"} })
	six := slice("1 n2 ready")
	six.AddressType = discoveryv1.AddressTypeIPv6
	six.Endpoints[0].Addresses = []string{"fd00::1"}
	wrong := slice("1 n2 ready")
	wrong.Endpoints[0].Addresses = []string{"fd00::2"}
	empty := slice("1 n2 ready")
	empty.Endpoints[0].Addresses = nil
	fqdn := slice("1 n2 ready")
	fqdn.AddressType = discoveryv1.AddressTypeFQDN
	fqdn.Endpoints[0].Addresses = []string{"example.org"}
	fs := Compile(s, []*discoveryv1.EndpointSlice{slice("7 n1 ready"), six, wrong, empty, fqdn}, here)
	want := []netip.AddrPort{netip.MustParseAddrPort("[fd00::1]:8080"), netip.MustParseAddrPort("10.0.0.7:8080")}
	for i, f := range fs {
		if len(f.Cluster) != 1 || f.Cluster[0].Addr != want[i] {
			t.Errorf("%s: %v, want %s", &f, f.Cluster, want[i])
		}
	}
}

// TestSlicesOutOfService is kube-proxy's selector for EndpointSlices: a label takes them out, whatever its value.
func TestSlicesOutOfService(t *testing.T) {
	for _, c := range []struct {
		labels map[string]string
		want   string
	}{
		{nil, "1 2"},
		{map[string]string{discoveryv1.LabelManagedBy: "me"}, "1 2"},
		{map[string]string{corev1.IsHeadlessService: ""}, "1"},
		{map[string]string{corev1.IsHeadlessService: "false"}, "1"},
		{map[string]string{LabelProxyName: "another"}, "1"},
		{map[string]string{LabelProxyName: ""}, "1"},
	} {
		labelled := slice("2 n1 ready")
		labelled.Labels = c.labels
		fs := Compile(svc(), []*discoveryv1.EndpointSlice{slice("1 n1 ready"), labelled}, here)
		if got := short(fs[0].Cluster); got != c.want {
			t.Errorf("with labels %v: backends %s, want %s", c.labels, got, c.want)
		}
	}
}

func TestAnEndpointInTwoSlices(t *testing.T) {
	for _, order := range [][]*discoveryv1.EndpointSlice{
		{slice("1 n1 draining"), slice("1 n1 ready")},
		{slice("1 n1 ready"), slice("1 n1 gone")},
		{slice("1 n1 unready"), slice("1 n1 ready"), slice("1 n1 ready")},
	} {
		f := Compile(svc(), order, here)[0]
		if short(f.Cluster) != "1" || len(f.Draining) != 0 {
			t.Errorf("cluster %v, draining %v", f.Cluster, f.Draining)
		}
	}
}

func TestCompileIgnoresOrder(t *testing.T) {
	a, b := slice("1 n1 ready", "2 n2 ready"), slice("3 n1 ready", "4 n2 draining")
	x := Compile(svc(nodePortType), []*discoveryv1.EndpointSlice{a, b}, here)
	y := Compile(svc(nodePortType), []*discoveryv1.EndpointSlice{b, a}, here)
	if diff := cmp.Diff(x, y, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestExplainGivesReasons(t *testing.T) {
	es := Explain(svc(), []*discoveryv1.EndpointSlice{slice(
		"1 n1 ready zone=z1", "2 n2 ready zone=z2", "3 n1 unready zone=z1", "4 n1 draining zone=z1", "5 n2 draining")}, here)
	if len(es) != 1 || es[0].Topology != TopologyZone {
		t.Fatalf("explanation %+v", es)
	}
	var got []string
	for _, c := range es[0].Candidates {
		got = append(got, fmt.Sprintf("%s: %s; %s", c.Addr.Addr(), c.Cluster, c.Local))
	}
	want := []string{
		"10.0.0.1: chosen; chosen",
		"10.0.0.2: hinted for another zone; on another node",
		"10.0.0.3: not ready; not ready",
		"10.0.0.4: terminating, and ready endpoints exist; terminating, and ready endpoints exist",
		"10.0.0.5: terminating, and ready endpoints exist; on another node",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

// TestExplainAgreesWithCompile runs both over every mix of three endpoints.
func TestExplainAgreesWithCompile(t *testing.T) {
	var kinds []string
	for _, node := range []string{"n1", "n2"} {
		for _, state := range []string{"ready", "unready", "draining", "gone"} {
			for _, hint := range []string{"", "zone=z1", "zone=z2", "node=n1", "node=n2 zone=z1"} {
				kinds = append(kinds, node+" "+state+" "+hint)
			}
		}
	}
	s := svc(nodePortType, externalLocal)
	for _, a := range kinds {
		for _, b := range kinds {
			sl := []*discoveryv1.EndpointSlice{slice("1 "+a, "2 "+b, "3 n2 draining")}
			fs, es := Compile(s, sl, here), Explain(s, sl, here)
			var cluster, local []Backend
			for _, c := range es[0].Candidates {
				if c.Cluster.In() {
					cluster = append(cluster, c.backend())
				}
				if c.Local.In() {
					local = append(local, c.backend())
				}
			}
			for _, f := range fs {
				if short(f.Cluster) != short(cluster) || short(f.Local) != short(local) {
					t.Fatalf("%s, %s: compiled %v and %v, explained %v and %v", a, b, f.Cluster, f.Local, cluster, local)
				}
				for class, d := range f.Decisions {
					if (d.Verdict == Forward) != (len(f.Backends(d.Set)) > 0) {
						t.Fatalf("%s, %s: %s of class %d with %d backends", a, b, d.Verdict, class, len(f.Backends(d.Set)))
					}
				}
			}
		}
	}
}

func TestHealth(t *testing.T) {
	check := func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 32000 }
	eps := []*discoveryv1.EndpointSlice{slice("1 n1 ready", "2 n1 draining", "3 n2 ready", "4 n1 ready")}
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		want int // -1: no check
	}{
		{"local ready ones count", svc(loadBalancer("192.0.2.1"), externalLocal, check), 2},
		{"each address once", svc(loadBalancer(), externalLocal, check, func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 81})
		}), 2},
		{"policy Cluster", svc(loadBalancer(), check), -1},
		{"no port", svc(loadBalancer(), externalLocal), -1},
		{"no load balancer", svc(nodePortType, externalLocal, check), -1},
	} {
		h, ok := Health(c.svc, eps, here)
		if ok != (c.want >= 0) || (ok && (h.LocalEndpoints != c.want || h.Port != 32000)) {
			t.Errorf("%s: %+v %v, want %d", c.name, h, ok, c.want)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	var eps []string
	for i := range 100 {
		eps = append(eps, fmt.Sprintf("%d n%d ready zone=z%d", i, i%3, i%2))
	}
	s, sl := svc(nodePortType), []*discoveryv1.EndpointSlice{slice(eps...)}
	for b.Loop() {
		Compile(s, sl, here)
	}
}

// Nothing new goes to endpoints on nodes that answer nothing, as long as there are others.
func TestSilentNodes(t *testing.T) {
	for _, c := range []struct {
		name                     string
		silent                   []string
		endpoints                []string
		cluster, local, draining string
	}{
		{"others take over", []string{"n2"}, []string{"1 n1 ready", "2 n2 ready", "3 n3 ready"}, "1 3", "1", "2"},
		{"there are no others", []string{"n2", "n3"}, []string{"2 n2 ready", "3 n3 ready"}, "2 3", "", ""},
		{"those that are left are not ready", []string{"n2"}, []string{"1 n1 unready", "2 n2 ready"}, "2", "", ""},
		{"those that are left are terminating", []string{"n2"}, []string{"1 n1 draining", "2 n2 ready"}, "2", "1", ""},
		{"all are terminating", []string{"n2"}, []string{"1 n1 draining", "2 n2 draining"}, "1", "1", "2"},
		{"the others are in another zone", []string{"n2"}, []string{"1 n2 ready zone=z1", "2 n3 ready zone=z2"}, "1", "", "2"},
		{"within the zone", []string{"n2"}, []string{"1 n2 ready zone=z1", "2 n3 ready zone=z1"}, "2", "", "1"},
		{"a node without endpoints", []string{"n9"}, []string{"1 n1 ready", "2 n2 ready"}, "1 2", "1", ""},
	} {
		node := here
		node.Silent = map[string]bool{}
		for _, name := range c.silent {
			node.Silent[name] = true
		}
		f := Compile(svc(), []*discoveryv1.EndpointSlice{slice(c.endpoints...)}, node)[0]
		got := []string{short(f.Cluster), short(f.Local), short(f.Draining)}
		if diff := cmp.Diff([]string{c.cluster, c.local, c.draining}, got); diff != "" {
			t.Errorf("%s: cluster, local, draining (-want +got):\n%s", c.name, diff)
		}
	}
}

func (c Class) String() string {
	switch c {
	case FromPod:
		return "pod"
	case FromHost:
		return "host"
	case FromOutside:
		return "outside"
	}
	return fmt.Sprintf("class %d", uint8(c))
}
