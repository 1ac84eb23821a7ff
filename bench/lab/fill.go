package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/uuid"

	"minato/test/stock"
)

// samples is of how many fillers one can be asked.
const samples = 100

// Filler is Service i of those that are only there to be many. Its endpoints
// exist nowhere, but those of some Services, which are the two servers.
func Filler(i, endpoints int) *Service {
	s := &Service{Namespace: namespace(i), Name: fmt.Sprintf("filler-%d", i), IP: netip.AddrFrom4([4]byte{10, 96, byte(16 + i/200), byte(1 + i%200)})}
	if i%samples == samples/2 {
		s.Endpoints = []netip.AddrPort{netip.AddrPortFrom(ServerIP, ServerPort), netip.AddrPortFrom(OtherIP, ServerPort)}
		return s
	}
	for e := range endpoints {
		n := i*endpoints + e
		s.Endpoints = append(s.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(128 + n/40000), byte(n / 200 % 200), byte(1 + n%200)}), ServerPort))
	}
	return s
}

// Samples are the cluster IPs of those of the first n fillers that answer.
func Samples(n int) []netip.AddrPort {
	var out []netip.AddrPort
	for i := samples / 2; i < n; i += samples {
		out = append(out, netip.AddrPortFrom(Filler(i, 1).IP, Port))
	}
	return out
}

// Fill makes Services until there are n, past the API server. Proxies can't tell
// them from those that it made.
func (a *API) Fill(ctx context.Context, n, endpoints int) error {
	var all []stock.Stored
	for i := a.filled; i < n; i++ {
		all = append(all, Filler(i, endpoints).stored()...)
	}
	if len(all) == 0 {
		return nil
	}
	a.filled = n
	if err := a.Seed(ctx, all); err != nil {
		return err
	}
	return a.seen(ctx, Filler(n-1, endpoints))
}

// seen returns when the API server has a Service and its endpoints in its memory,
// from where lists and watches are answered.
func (a *API) seen(ctx context.Context, s *Service) error {
	cached := metav1.GetOptions{ResourceVersion: "0"}
	for {
		_, err := a.client.CoreV1().Services(s.Namespace).Get(ctx, s.Name, cached)
		if err == nil {
			_, err = a.client.DiscoveryV1().EndpointSlices(s.Namespace).Get(ctx, s.slice().Name, cached)
		}
		if err == nil || !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stored are a Service's objects as the API server would store them.
func (s *Service) stored() []stock.Stored {
	o, slice := s.object(), s.slice()
	single, cluster := corev1.IPFamilyPolicySingleStack, corev1.ServiceInternalTrafficPolicyCluster
	o.Spec.ClusterIPs, o.Spec.IPFamilies, o.Spec.IPFamilyPolicy = []string{s.IP.String()}, []corev1.IPFamily{corev1.IPv4Protocol}, &single
	o.Spec.SessionAffinity, o.Spec.InternalTrafficPolicy = corev1.ServiceAffinityNone, &cluster
	o.Spec.Ports[0].TargetPort = intstr.FromInt32(ServerPort)
	age(&o.ObjectMeta, "kubectl-client-side-apply", `{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:internalTrafficPolicy":{},"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{},"f:targetPort":{}}},"f:sessionAffinity":{},"f:type":{}}}`)
	age(&slice.ObjectMeta, "kube-controller-manager", `{"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:labels":{".":{},"f:endpointslice.kubernetes.io/managed-by":{},"f:kubernetes.io/service-name":{}}},"f:ports":{}}`)
	// Without this one, the API server would find the address to be nobody's and make it.
	ip := &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: s.IP.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: "IPv4", networkingv1.LabelManagedBy: "ipallocator.k8s.io",
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: s.Namespace, Name: s.Name}},
	}
	age(&ip.ObjectMeta, "kube-apiserver", `{"f:spec":{"f:parentRef":{}}}`)
	return []stock.Stored{
		{Key: "ipaddresses/" + ip.Name, Object: ip, Version: networkingv1.SchemeGroupVersion},
		{Key: "endpointslices/" + slice.Namespace + "/" + slice.Name, Object: slice, Version: discoveryv1.SchemeGroupVersion},
		{Key: "services/specs/" + o.Namespace + "/" + o.Name, Object: o, Version: corev1.SchemeGroupVersion},
	}
}

// age fills in what the API server notes of each object.
func age(m *metav1.ObjectMeta, manager, fields string) {
	m.UID, m.CreationTimestamp = uuid.NewUUID(), metav1.NewTime(time.Now())
	m.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &m.CreationTimestamp,
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)},
	}}
}
