package show

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"minato/internal/service/dataplane"
	"minato/internal/service/route"
)

var update = flag.Bool("update", false, "write what is shown to testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func slice(conditions ...discoveryv1.EndpointConditions) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080)}},
	}
	for i, c := range conditions {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.%d.2", i+1)}, NodeName: ptr.To(fmt.Sprintf("node-%d", i+1)), Conditions: c,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("web-%d", i+1)},
		})
	}
	return s
}

// web is a load balancer's Service with policy Local, one Pod here and ready, one elsewhere, one on its way out.
func web() Service {
	key := types.NamespacedName{Namespace: "shop", Name: "web"}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.1.1", ClusterIPs: []string{"10.96.1.1"},
			Ports:                    []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080}},
			ExternalTrafficPolicy:    corev1.ServiceExternalTrafficPolicyLocal,
			LoadBalancerSourceRanges: []string{"198.51.100.0/24"},
			SessionAffinity:          corev1.ServiceAffinityClientIP,
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}},
	}
	eps := slice(discoveryv1.EndpointConditions{}, discoveryv1.EndpointConditions{},
		discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)},
		discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(false)})
	name := dataplane.ServicePortName{Service: key, PortName: "http", Protocol: "TCP"}
	udp, other := name, name
	udp.Protocol, other.Service.Name = "UDP", "other"
	traffic := []dataplane.Traffic{
		{ServicePortName: name, Backend: netip.MustParseAddrPort("10.244.1.2:8080"), Connections: 7, Packets: 40, Bytes: 4000},
		{ServicePortName: udp, Backend: netip.MustParseAddrPort("10.244.2.2:8080"), Connections: 99},
		{ServicePortName: other, Backend: netip.MustParseAddrPort("10.244.2.2:8080"), Connections: 99},
	}
	visits := []dataplane.Visits{
		{ServicePortName: name, Addr: netip.MustParseAddr("10.96.1.1"), Port: 80, From: "inside", Connections: 4, Refused: 2},
		{ServicePortName: name, Port: 30080, From: "outside", Connections: 2},
		{ServicePortName: name, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80, From: "inside", Connections: 1},
		{ServicePortName: name, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80, From: "outside", Dropped: 1},
		{ServicePortName: udp, Port: 30080, From: "outside", Connections: 99},
		{ServicePortName: other, Port: 30080, From: "outside", Connections: 99},
	}
	return Describe(key, "node-1", true, route.Explain(svc, []*discoveryv1.EndpointSlice{eps}, route.Node{Name: "node-1"}), traffic, visits)
}

// pod has a hostPort at every address of the node, and one on the loopback.
func pod() Service {
	key, node := types.NamespacedName{Namespace: "shop", Name: "cache-1"}, route.Node{Name: "node-1", Addrs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}}
	ports := []route.HostPort{
		{Port: 80, Protocol: corev1.ProtocolTCP, Backend: netip.MustParseAddrPort("10.244.1.3:8080")},
		{Port: 53, Protocol: corev1.ProtocolUDP, HostIP: netip.MustParseAddr("127.0.0.1"), Backend: netip.MustParseAddrPort("10.244.1.3:5353")},
	}
	name := dataplane.ServicePortName{Service: route.PodKey(key.Namespace, key.Name), PortName: "80", Protocol: "TCP"}
	traffic := []dataplane.Traffic{{ServicePortName: name, Backend: ports[0].Backend, Connections: 3, Packets: 12, Bytes: 900}}
	visits := []dataplane.Visits{{ServicePortName: name, Addr: node.Addrs[0], Port: 80, From: "outside", Connections: 3}}
	return Describe(name.Service, node.Name, true, route.ExplainHostPorts(key, ports, node), traffic, visits)
}

func TestGolden(t *testing.T) {
	empty := Describe(types.NamespacedName{Namespace: "shop", Name: "headless"}, "node-1", false, nil, nil, nil)
	for name, s := range map[string]Service{"web": web(), "headless": empty, "pod": pod()} {
		var text bytes.Buffer
		if err := s.Write(&text); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", text.Bytes())
		data, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", append(data, '\n'))
	}
	var list bytes.Buffer
	if err := List(&list, []Service{web(), empty, pod()}); err != nil {
		t.Fatal(err)
	}
	golden(t, "list.txt", list.Bytes())
}
