package member

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/spec"
	"minato/internal/runtime/oci"
	"minato/internal/service"
	"minato/internal/service/route"
)

// sandboxPorts are the hostPorts of a node: those of the cluster's Pods, and the
// port mappings of sandboxes that somebody else has made through the CRI.
type sandboxPorts struct {
	service.HostPorts // of the cluster's Pods

	mu      sync.Mutex
	foreign map[types.NamespacedName]map[string][]route.HostPort // by the sandbox's ID

	following sync.RWMutex               // held for reading to call changed, without mu
	changed   func(types.NamespacedName) // nil while nobody follows
}

func newSandboxPorts(pods service.HostPorts) *sandboxPorts {
	return &sandboxPorts{HostPorts: pods, foreign: map[types.NamespacedName]map[string][]route.HostPort{}}
}

// Follow implements service.HostPorts.
func (p *sandboxPorts) Follow(changed func(types.NamespacedName)) (cache.DoneChecker, func(), error) {
	synced, stop, err := p.HostPorts.Follow(changed)
	if err != nil {
		return nil, nil, err
	}
	p.following.Lock()
	p.changed = changed
	p.following.Unlock()
	for _, name := range p.foreignNames() {
		p.tell(name)
	}
	return synced, func() {
		p.following.Lock()
		p.changed = nil
		p.following.Unlock()
		stop()
	}, nil
}

func (p *sandboxPorts) foreignNames() []types.NamespacedName {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.foreign))
}

// Pod implements service.HostPorts.
func (p *sandboxPorts) Pod(name types.NamespacedName) []route.HostPort {
	out := p.HostPorts.Pod(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(p.foreign[name])) {
		out = append(slices.Clip(out), p.foreign[name][id]...)
	}
	return out
}

// Names implements service.HostPorts.
func (p *sandboxPorts) Names() []types.NamespacedName {
	out := p.HostPorts.Names()
	for _, name := range p.foreignNames() {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// attached takes in a sandbox that has its addresses.
func (p *sandboxPorts) attached(sb oci.SandboxInfo, ips []netip.Addr) {
	if sb.Labels[spec.LabelPodUID] != "" {
		return // the agent's, of which the API server tells
	}
	ports := route.HostPorts(podOf(sb, ips))
	if len(ports) == 0 {
		return
	}
	name := types.NamespacedName{Namespace: sb.Namespace, Name: sb.Name}
	p.set(name, sb.ID, ports)
	p.tell(name)
}

func (p *sandboxPorts) set(name types.NamespacedName, id string, ports []route.HostPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.foreign[name] == nil {
		p.foreign[name] = map[string][]route.HostPort{}
	}
	p.foreign[name][id] = ports
}

// detached forgets a sandbox.
func (p *sandboxPorts) detached(sb oci.SandboxInfo) {
	name := types.NamespacedName{Namespace: sb.Namespace, Name: sb.Name}
	if p.forget(name, sb.ID) {
		p.tell(name)
	}
}

func (p *sandboxPorts) forget(name types.NamespacedName, id string) (had bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, had = p.foreign[name][id]; !had {
		return false
	}
	delete(p.foreign[name], id)
	if len(p.foreign[name]) == 0 {
		delete(p.foreign, name)
	}
	return true
}

// tell has the follower look.
func (p *sandboxPorts) tell(name types.NamespacedName) {
	p.following.RLock()
	defer p.following.RUnlock()
	if p.changed != nil {
		p.changed(name)
	}
}

// podOf describes a sandbox as the API describes a Pod, as far as its ports go.
func podOf(sb oci.SandboxInfo, ips []netip.Addr) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = sb.Namespace, sb.Name
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	c := corev1.Container{}
	for _, m := range sb.PortMappings {
		port := corev1.ContainerPort{HostPort: m.GetHostPort(), ContainerPort: m.GetContainerPort(), HostIP: m.GetHostIp()}
		switch m.GetProtocol() {
		case runtimeapi.Protocol_TCP:
			port.Protocol = corev1.ProtocolTCP
		case runtimeapi.Protocol_UDP:
			port.Protocol = corev1.ProtocolUDP
		case runtimeapi.Protocol_SCTP:
			port.Protocol = corev1.ProtocolSCTP
		}
		c.Ports = append(c.Ports, port)
	}
	pod.Spec.Containers = []corev1.Container{c}
	return pod
}
