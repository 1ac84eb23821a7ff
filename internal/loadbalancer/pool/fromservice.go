package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// FromService reads what decides about a Service from the object and from the labels of its namespace. Current is what
// the status lists.
func FromService(svc *corev1.Service, namespaceLabels labels.Set) Service {
	s := Service{
		Key:             types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name},
		Created:         svc.CreationTimestamp.Time,
		Labels:          svc.Labels,
		NamespaceLabels: namespaceLabels,
		Families:        families(svc),
		Ports:           ports(svc),
		Local:           svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Selector:        svc.Spec.Selector,
		Current:         current(svc),
	}
	if svc.Spec.IPFamilyPolicy != nil {
		s.Policy = *svc.Spec.IPFamilyPolicy
	}
	s.RequestedPool = strings.TrimSpace(s.annotation(svc, poolName))
	s.SharingKey = s.annotation(svc, sharingName)
	requested, err := requested(s.annotation(svc, addressesName), svc.Spec.LoadBalancerIP)
	if err == nil {
		err = s.checkFamilies(requested)
	}
	if err != nil {
		s.Invalid = err.Error()
	} else {
		s.Requested = requested
	}
	return s
}

// annotation reads an annotation under its new name, or else under its old one, of which it takes note.
func (s *Service) annotation(svc *corev1.Service, name string) string {
	if v, ok := svc.Annotations[newPrefix+name]; ok {
		return v
	}
	v, ok := svc.Annotations[oldPrefix+name]
	if ok {
		s.Deprecated = append(s.Deprecated, oldPrefix+name)
	}
	return v
}

// families are spec.ipFamilies; of a Service that was stored before there was such a field, those of its cluster IPs.
func families(svc *corev1.Service) []corev1.IPFamily {
	var out []corev1.IPFamily
	add := func(f corev1.IPFamily) {
		if (f == corev1.IPv4Protocol || f == corev1.IPv6Protocol) && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	for _, f := range svc.Spec.IPFamilies {
		add(f)
	}
	if len(out) > 0 {
		return out
	}
	for _, ip := range append(slices.Clone(svc.Spec.ClusterIPs), svc.Spec.ClusterIP) {
		if a, err := parse(ip); err == nil {
			add(familyOf(a))
		}
	}
	return out
}

func ports(svc *corev1.Service) []Port {
	out := make([]Port, 0, len(svc.Spec.Ports))
	for _, p := range svc.Spec.Ports {
		if p.Port < 1 || p.Port > 65535 {
			continue // the API server refuses it
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		out = append(out, Port{Protocol: protocol, Port: uint16(p.Port)})
	}
	return out
}

// current is what the status lists, without host names and without what can't be understood.
func current(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := parse(in.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// requested reads what is asked for by annotation or by spec.loadBalancerIP. The texts of the errors are MetalLB's.
func requested(annotation, field string) ([]netip.Addr, error) {
	switch {
	case annotation != "" && field != "":
		return nil, fmt.Errorf("service can not have both %s and svc.Spec.LoadBalancerIP", AnnotationAddresses)
	case field != "":
		a, err := parse(field)
		if err != nil {
			return nil, fmt.Errorf("invalid spec.loadBalancerIP %q", field)
		}
		return []netip.Addr{a}, nil
	case annotation == "":
		return nil, nil
	}
	var out []netip.Addr
	for part := range strings.SplitSeq(annotation, ",") {
		a, err := parse(part)
		if err != nil {
			return nil, fmt.Errorf("invalid %s: %q", AnnotationAddresses, annotation)
		}
		out = append(out, a)
	}
	if len(out) > 2 {
		return nil, fmt.Errorf("invalid %s: more than two addresses %q", AnnotationAddresses, out)
	}
	if len(out) == 2 && familyOf(out[0]) == familyOf(out[1]) {
		return nil, fmt.Errorf("invalid %s: %q %q has the same family", AnnotationAddresses, out[0], out[1])
	}
	return status(out), nil
}

// checkFamilies refuses addresses of a family that the Service doesn't have. One address is enough for a Service with
// two families: the other one is found by itself.
func (s *Service) checkFamilies(addrs []netip.Addr) error {
	wanted := s.wanted()
	for _, a := range addrs {
		if len(wanted) > 0 && !slices.Contains(wanted, familyOf(a)) {
			return fmt.Errorf("requested loadBalancer IP(s) %q does not match the ipFamily of the service", addrs)
		}
	}
	return nil
}

// parse reads an address. An IPv4-mapped IPv6 address is the IPv4 address; a zone means nothing beyond one machine.
func parse(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return netip.Addr{}, err
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("address %q has a zone; leave out %%%s", s, a.Zone())
	}
	return a.Unmap(), nil
}
