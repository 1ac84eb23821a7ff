package pool

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

func TestFromService(t *testing.T) {
	dual := corev1.IPFamilyPolicyPreferDualStack
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "a", CreationTimestamp: metav1.NewTime(epoch), Labels: map[string]string{"l": "1"},
			Annotations: map[string]string{
				"metallb.io/address-pool": " p\n", "metallb.universe.tf/address-pool": "old",
				"metallb.universe.tf/allow-shared-ip": "k", "metallb.io/loadBalancerIPs": "FD00::1, ::ffff:10.0.0.1",
				"metallb.universe.tf/ip-allocated-from-pool": "p",
			},
		},
		Spec: corev1.ServiceSpec{
			IPFamilies: v6First, IPFamilyPolicy: &dual, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Selector: map[string]string{"app": "x"},
			Ports:    []corev1.ServicePort{{Port: 53, Protocol: corev1.ProtocolUDP}, {Port: 80}, {Port: 70000}, {Port: -1}},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{
			{IP: "10.0.0.1"}, {Hostname: "h"}, {IP: "x"}, {IP: "fd00::1"},
		}}},
	}
	want := Service{
		Key: types.NamespacedName{Namespace: "ns", Name: "a"}, Created: epoch,
		Labels: labels.Set{"l": "1"}, NamespaceLabels: labels.Set{"n": "1"},
		Families: v6First, Policy: dual, Ports: []Port{{corev1.ProtocolUDP, 53}, {corev1.ProtocolTCP, 80}},
		Local: true, Selector: labels.Set{"app": "x"}, SharingKey: "k",
		Requested: addrs("10.0.0.1 fd00::1"), RequestedPool: "p", Current: addrs("10.0.0.1 fd00::1"),
		Deprecated: []string{"metallb.universe.tf/allow-shared-ip"},
	}
	if got := FromService(svc, labels.Set{"n": "1"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFromEmptyService(t *testing.T) {
	got := FromService(&corev1.Service{}, nil)
	if !reflect.DeepEqual(got, Service{Ports: []Port{}}) {
		t.Errorf("an empty Service reads as %+v", got)
	}
	if d := Allocate(nil, []Service{got})[got.Key]; d.Cause != NoFamily {
		t.Errorf("an empty Service gets %+v", d)
	}
}

func TestFamiliesOfOldServices(t *testing.T) {
	for _, c := range []struct {
		spec corev1.ServiceSpec
		want []corev1.IPFamily
	}{
		{corev1.ServiceSpec{ClusterIPs: []string{"fd00::1", "10.0.0.1"}, ClusterIP: "fd00::1"}, v6First},
		{corev1.ServiceSpec{ClusterIP: "10.0.0.1"}, v4Only},
		{corev1.ServiceSpec{ClusterIP: "None"}, nil},
		{corev1.ServiceSpec{IPFamilies: v6Only, ClusterIP: "10.0.0.1"}, v6Only},
		{corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{"IPv9", "IPv4", "IPv4"}}, v4Only},
	} {
		if got := FromService(&corev1.Service{Spec: c.spec}, nil).Families; !slices.Equal(got, c.want) {
			t.Errorf("%+v has families %v, want %v", c.spec, got, c.want)
		}
	}
}

func TestRequests(t *testing.T) {
	both := "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP"
	for _, c := range []struct {
		newer, older, field string
		families            []corev1.IPFamily
		want, invalid       string
	}{
		{families: v4Only},
		{newer: "10.0.0.1", families: v4Only, want: "10.0.0.1"},
		{older: "10.0.0.1", families: v4Only, want: "10.0.0.1"},
		{newer: "10.0.0.1", older: "10.0.0.2", families: v4Only, want: "10.0.0.1"},
		{field: " 10.0.0.1 ", families: v4Only, want: "10.0.0.1"},
		{newer: " fd00::1 ,10.0.0.1", families: v4First, want: "10.0.0.1 fd00::1"},
		{newer: "10.0.0.1", families: v4First, want: "10.0.0.1"},
		{newer: "10.0.0.1", field: "10.0.0.1", families: v4Only, invalid: both},
		{older: "10.0.0.1", field: "10.0.0.2", families: v4Only, invalid: both},
		{field: "10.0.0", families: v4Only, invalid: `invalid spec.loadBalancerIP "10.0.0"`},
		{field: "10.0.0.1,10.0.0.2", families: v4Only, invalid: `invalid spec.loadBalancerIP "10.0.0.1,10.0.0.2"`},
		{newer: "10.0.0.1,", families: v4Only, invalid: `invalid metallb.io/loadBalancerIPs: "10.0.0.1,"`},
		{newer: "010.0.0.1", families: v4Only, invalid: `invalid metallb.io/loadBalancerIPs: "010.0.0.1"`},
		{newer: "10.0.0.1/32", families: v4Only, invalid: `invalid metallb.io/loadBalancerIPs: "10.0.0.1/32"`},
		{newer: "fe80::1%eth0", families: v6Only, invalid: `invalid metallb.io/loadBalancerIPs: "fe80::1%eth0"`},
		{newer: "10.0.0.1,10.0.0.2", families: v4First, invalid: `invalid metallb.io/loadBalancerIPs: "10.0.0.1" "10.0.0.2" has the same family`},
		{newer: "10.0.0.1,10.0.0.1", families: v4Only, invalid: `invalid metallb.io/loadBalancerIPs: "10.0.0.1" "10.0.0.1" has the same family`},
		{newer: "10.0.0.1,fd00::1,fd00::2", families: v4First, invalid: `invalid metallb.io/loadBalancerIPs: more than two addresses ["10.0.0.1" "fd00::1" "fd00::2"]`},
		{newer: "fd00::1", families: v4Only, invalid: `requested loadBalancer IP(s) ["fd00::1"] does not match the ipFamily of the service`},
		{newer: "10.0.0.1,fd00::1", families: v4Only, invalid: `requested loadBalancer IP(s) ["10.0.0.1" "fd00::1"] does not match the ipFamily of the service`},
	} {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{IPFamilies: c.families, LoadBalancerIP: c.field}}
		svc.Annotations = map[string]string{}
		if len(c.families) > 1 {
			svc.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicy)
			*svc.Spec.IPFamilyPolicy = corev1.IPFamilyPolicyPreferDualStack
		}
		if c.newer != "" {
			svc.Annotations["metallb.io/loadBalancerIPs"] = c.newer
		}
		if c.older != "" {
			svc.Annotations["metallb.universe.tf/loadBalancerIPs"] = c.older
		}
		s := FromService(svc, nil)
		if list(s.Requested) != c.want || s.Invalid != c.invalid {
			t.Errorf("%+v: got %v and %q", c, s.Requested, s.Invalid)
		}
		if deprecated := c.older != "" && c.newer == ""; deprecated != (len(s.Deprecated) == 1) {
			t.Errorf("%+v: deprecated annotations %v", c, s.Deprecated)
		}
	}
}

// A new annotation wins even if it is empty: it is how a request is taken back without touching the old one.
func TestEmptyNewAnnotationWins(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
		"metallb.io/address-pool": "", "metallb.universe.tf/address-pool": "old",
	}}}
	if s := FromService(svc, nil); s.RequestedPool != "" || len(s.Deprecated) != 0 {
		t.Errorf("got pool %q, deprecated %v", s.RequestedPool, s.Deprecated)
	}
}

// Whatever is written in annotations and fields, it is either understood or refused, and allocation copes with it.
func FuzzFromService(f *testing.F) {
	f.Add("10.0.0.1,fd00::1", "", "p", "k", "10.0.0.1", byte(0))
	f.Add("", "10.0.0.1", "", "", "::ffff:10.0.0.1", byte(1))
	f.Add("fe80::1%eth0", "x", "\x00", ",", "", byte(2))
	f.Add("::ffff:10.0.0.1,10.0.0.1", "", "", "", "fd00::1", byte(3))
	f.Fuzz(func(t *testing.T, annotation, field, wantedPool, key, ingress string, bits byte) {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", CreationTimestamp: metav1.Time{Time: time.Unix(int64(bits), 0)}},
			Spec:       corev1.ServiceSpec{LoadBalancerIP: field, IPFamilies: [][]corev1.IPFamily{v4Only, v6Only, v4First, v6First}[bits%4]},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{
				Ingress: []corev1.LoadBalancerIngress{{IP: ingress}},
			}},
		}
		if bits&4 != 0 {
			p := []corev1.IPFamilyPolicy{corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack}[bits>>3&1]
			svc.Spec.IPFamilyPolicy = &p
		}
		prefix := []string{newPrefix, oldPrefix}[bits>>4&1]
		svc.Annotations = map[string]string{prefix + addressesName: annotation, prefix + poolName: wantedPool, prefix + sharingName: key}
		s := FromService(svc, nil)
		asked := annotation != "" || field != ""
		if asked != (len(s.Requested) > 0 || s.Invalid != "") || len(s.Requested) > 0 && s.Invalid != "" {
			t.Fatalf("%q and %q read as %v, invalid %q", annotation, field, s.Requested, s.Invalid)
		}
		if annotation != "" && field != "" && !strings.Contains(s.Invalid, "both") {
			t.Fatalf("%q and %q: invalid %q", annotation, field, s.Invalid)
		}
		for _, a := range slices.Concat(s.Requested, s.Current) {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Fatalf("address %v", a)
			}
		}
		if len(s.Requested) > 2 || len(s.Requested) == 2 && !(s.Requested[0].Is4() && s.Requested[1].Is6()) {
			t.Fatalf("requested %v", s.Requested)
		}
		everything := pool("p", "0.0.0.0-255.255.255.255 ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
		d := Allocate([]config.Pool{everything}, []Service{s})[s.Key]
		if d.Reason == Allocated || d.Reason == Kept {
			if !subset(s.Requested, d.Addresses) {
				t.Fatalf("requested %v, got %v", s.Requested, d.Addresses)
			}
		}
		explained(t, s, d)
	})
}
