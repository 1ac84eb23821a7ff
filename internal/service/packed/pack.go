package packed

import (
	"fmt"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service"
	"minato/internal/service/route"
)

// item is an object on its way into a Store.
type item struct {
	// service is the Service itself, or the one that a slice names.
	service types.NamespacedName
	record
}

// record is a packed object. The group that it is in tells its Service.
type record struct {
	// packed is a slice's name, a zero byte, and the object; of a Service, which has its name elsewhere, the object alone.
	packed string
	// triggered is the time of the last change of a slice's endpoints in nanoseconds since 1970, 0 if the slice does not have
	// it.
	triggered int64
}

const nameEnd = "\x00"

// isNamed tells whether a slice's record has the name.
func (r record) isNamed(name string) bool {
	rest, ok := strings.CutPrefix(r.packed, name)
	return ok && strings.HasPrefix(rest, nameEnd)
}

func (r record) name() string {
	name, _, _ := strings.Cut(r.packed, nameEnd)
	return name
}

func packService(s *corev1.Service) (item, error) {
	spec := &s.Spec
	kept := corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      keepKeys(s.Labels, route.LabelProxyName),
			Annotations: keepKeys(s.Annotations, route.AnnotationLoadBalancing, route.AnnotationTopologyKeys),
		},
		Spec: corev1.ServiceSpec{
			Type: spec.Type, ClusterIPs: spec.ClusterIPs, ExternalIPs: spec.ExternalIPs,
			SessionAffinity: spec.SessionAffinity, SessionAffinityConfig: spec.SessionAffinityConfig,
			InternalTrafficPolicy: spec.InternalTrafficPolicy, ExternalTrafficPolicy: spec.ExternalTrafficPolicy,
			LoadBalancerSourceRanges: spec.LoadBalancerSourceRanges, HealthCheckNodePort: spec.HealthCheckNodePort,
		},
		Status: corev1.ServiceStatus{LoadBalancer: s.Status.LoadBalancer},
	}
	if spec.HealthCheckNodePort > 0 {
		kept.UID = s.UID // events about its port name it
	}
	if len(spec.ClusterIPs) == 0 {
		kept.Spec.ClusterIP = spec.ClusterIP
	}
	for _, p := range spec.Ports {
		kept.Spec.Ports = append(kept.Spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port, NodePort: p.NodePort})
	}
	packed, err := kept.Marshal()
	if err != nil {
		return item{}, fmt.Errorf("pack Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	return item{service: types.NamespacedName{Namespace: once(s.Namespace), Name: s.Name}, record: record{packed: string(packed)}}, nil
}

func packSlice(s *discoveryv1.EndpointSlice) (item, error) {
	kept := discoveryv1.EndpointSlice{AddressType: s.AddressType, Ports: s.Ports, Endpoints: make([]discoveryv1.Endpoint, len(s.Endpoints))}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		kept.Endpoints[i] = discoveryv1.Endpoint{Addresses: e.Addresses, Conditions: e.Conditions, NodeName: e.NodeName, Zone: e.Zone, Hints: e.Hints}
	}
	packed, err := kept.Marshal()
	if err != nil {
		return item{}, fmt.Errorf("pack EndpointSlice %s/%s: %w", s.Namespace, s.Name, err)
	}
	it := item{service: service.ServiceOf(s), record: record{packed: s.Name + nameEnd + string(packed)}}
	it.service.Namespace = once(it.service.Namespace)
	if at := service.Triggered(s); !at.IsZero() {
		it.triggered = at.UnixNano()
	}
	return it, nil
}

func unpackService(key types.NamespacedName, packed string) *corev1.Service {
	s := &corev1.Service{}
	mustUnpack(s.Unmarshal([]byte(packed)))
	s.Namespace, s.Name = key.Namespace, key.Name
	return s
}

func unpackSlice(key types.NamespacedName, r record) *discoveryv1.EndpointSlice {
	name, packed, _ := strings.Cut(r.packed, nameEnd)
	s := &discoveryv1.EndpointSlice{}
	mustUnpack(s.Unmarshal([]byte(packed)))
	s.Namespace, s.Name = key.Namespace, name
	s.Labels = map[string]string{discoveryv1.LabelServiceName: key.Name}
	return s
}

// mustUnpack panics at an error: what was packed here can be unpacked.
func mustUnpack(err error) {
	if err != nil {
		panic(fmt.Sprintf("unpack an object: %v", err))
	}
}

func keepKeys(all map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		v, ok := all[key]
		if !ok {
			continue
		}
		if kept == nil {
			kept = make(map[string]string, 1)
		}
		kept[key] = v
	}
	return kept
}

// once returns the same memory for equal texts.
func once(s string) string { return unique.Make(s).Value() }
