package loadbalancer

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/loadbalancer/pool"
)

func TestServiceGetsAnAddress(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("web", func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP})
	}))
	w.wantAddress("web", "172.30.200.1")
	w.wantEvents("web", assigned("172.30.200.1")...)
	s := w.api.get(key("web"))
	if got := s.Annotations[pool.AnnotationAllocatedFrom]; got != "minato-default" {
		t.Errorf("annotation %q", got)
	}
	want := ingress(s, publishedBy(s))
	if len(want[0].Ports) != 2 || *want[0].IPMode != corev1.LoadBalancerIPModeVIP || !sameIngress(s.Status.LoadBalancer.Ingress, want) {
		t.Errorf("status %+v", s.Status.LoadBalancer)
	}
	writes := w.api.written()
	if len(writes) != 2 || writes[0].subresource != "" || writes[1].subresource != "status" {
		t.Fatalf("writes %+v; the Service is to be marked first, then to get its status", writes)
	}
	if !hasMarks(writes[0].after) || len(writes[0].after.Status.LoadBalancer.Ingress) != 0 {
		t.Errorf("the first write made %+v", writes[0].after)
	}
}
