package dns

import (
	"net/netip"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// The cluster DNS address is allocated, and no Service has it.
func TestOrphanedAllocation(t *testing.T) {
	for _, tc := range []struct {
		name   string
		parent string
		age    time.Duration
		freed  bool
	}{
		{"of a killed API server", ServiceName, time.Minute, true},
		{"of a request that is being served", ServiceName, 0, false},
		{"of another Service", "thief", time.Minute, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := fake.NewClientset(&networkingv1.IPAddress{
				ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.10", UID: types.UID("1"), CreationTimestamp: metav1.NewTime(time.Now().Add(-tc.age))},
				Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: ServiceNamespace, Name: tc.parent}},
			})
			client.PrependReactor("create", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
				if _, err := client.Tracker().Get(networkingv1.SchemeGroupVersion.WithResource("ipaddresses"), "", "10.96.0.10"); err != nil {
					return false, nil, nil
				}
				return true, nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, ServiceName, nil)
			})
			r, err := NewRegistration(RegistrationConfig{
				Client: client, NodeName: "node-1", Port: 53,
				NodeIPs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, ServiceIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.ensure(t.Context(), true); err == nil {
				t.Error("no error of the first try")
			}
			if err := r.ensure(t.Context(), true); (err == nil) != tc.freed {
				t.Errorf("second try: %v", err)
			}
			if made := getService(client) != nil; made != tc.freed {
				t.Errorf("the Service exists: %v; want %v", made, tc.freed)
			}
		})
	}
}
