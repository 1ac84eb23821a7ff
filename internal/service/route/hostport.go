package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HostPort is a port of a Pod at addresses of its node, in one family: containers[*].ports[*].hostPort.
type HostPort struct {
	// HostIP is the only address where it answers; the zero address means every address of the node in the family.
	HostIP   netip.Addr
	Port     uint16
	Protocol corev1.Protocol
	// Backend is the Pod's address and the container's port.
	Backend netip.AddrPort
}

// name tells the ports of a Pod apart.
func (p HostPort) name() string {
	if p.HostIP.IsValid() {
		return netip.AddrPortFrom(p.HostIP, p.Port).String()
	}
	return strconv.Itoa(int(p.Port))
}

// podPrefix begins the names of Pods among those of Services, which have no slash.
const podPrefix = "pod/"

// PodKey names a Pod where Services are named: its frontends are kept beside theirs.
func PodKey(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: podPrefix + name}
}

// PodOf is PodKey's reverse, false for the key of a Service.
func PodOf(key types.NamespacedName) (types.NamespacedName, bool) {
	name, is := strings.CutPrefix(key.Name, podPrefix)
	return types.NamespacedName{Namespace: key.Namespace, Name: name}, is
}

// HostPorts returns the hostPorts of a Pod that has addresses and has not ended. A Pod in the node's own network listens
// there itself and needs none. An unspecified hostIP stands for its family, as for the portmap CNI plugin; none stands for
// both.
func HostPorts(pod *corev1.Pod) []HostPort {
	if pod == nil || pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	var out []HostPort
	for _, addr := range podIPs(pod) {
		for c := range serving(&pod.Spec) {
			for i := range c.Ports {
				p, ok := hostPort(&c.Ports[i], addr)
				same := func(o HostPort) bool { return o.HostIP == p.HostIP && o.Port == p.Port && o.Protocol == p.Protocol }
				if ok && !slices.ContainsFunc(out, func(o HostPort) bool { return same(o) && o.Backend.Addr() == addr }) {
					out = append(out, p)
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b HostPort) int {
		return cmp.Or(a.Backend.Addr().Compare(b.Backend.Addr()), a.HostIP.Compare(b.HostIP), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out
}

// serving are the containers that run for as long as the Pod does.
func serving(spec *corev1.PodSpec) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for i := range spec.InitContainers {
			always := spec.InitContainers[i].RestartPolicy
			if always != nil && *always == corev1.ContainerRestartPolicyAlways && !yield(&spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i]) {
				return
			}
		}
	}
}

// podIPs returns one address per family.
func podIPs(pod *corev1.Pod) []netip.Addr {
	texts := []string{pod.Status.PodIP}
	for _, ip := range pod.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	var out []netip.Addr
	for _, t := range texts {
		addr, ok := parseAddr(t)
		if ok && !slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is6() == addr.Is6() }) {
			out = append(out, addr)
		}
	}
	return out
}

func hostPort(p *corev1.ContainerPort, addr netip.Addr) (HostPort, bool) {
	if p.HostPort < 1 || p.HostPort > 65535 || p.ContainerPort < 1 || p.ContainerPort > 65535 {
		return HostPort{}, false
	}
	out := HostPort{
		Port: uint16(p.HostPort), Protocol: cmp.Or(p.Protocol, corev1.ProtocolTCP),
		Backend: netip.AddrPortFrom(addr, uint16(p.ContainerPort)),
	}
	if p.HostIP == "" {
		return out, true
	}
	host, err := netip.ParseAddr(p.HostIP)
	if err != nil {
		return HostPort{}, false
	}
	if host = host.Unmap().WithZone(""); host.Is6() != addr.Is6() {
		return HostPort{}, false
	}
	if !host.IsUnspecified() {
		out.HostIP = host
	}
	return out, true
}

// CompileHostPorts computes the frontends of one Pod's hostPorts on its node. All who come are sent to the Pod with the
// address they have. The node's loopback addresses are for its own processes alone.
func CompileHostPorts(pod types.NamespacedName, ports []HostPort, node Node) []Frontend {
	var out []Frontend
	for _, p := range ports {
		out = append(out, p.frontends(pod, node)...)
	}
	return out
}

func (p HostPort) frontends(pod types.NamespacedName, node Node) []Frontend {
	backends := []Backend{{Addr: p.Backend, Local: true}}
	var out []Frontend
	for _, addr := range p.addresses(node) {
		f := Frontend{
			Service: PodKey(pod.Namespace, pod.Name), PortName: p.name(), Kind: HostPortKind,
			Addr: addr, IPv6: addr.Is6(), Port: p.Port, Protocol: p.Protocol, Cluster: backends, Local: backends,
			Decisions: [Classes]Decision{FromHost: {Masquerade: true}},
		}
		if addr.IsLoopback() {
			f.Decisions[FromPod], f.Decisions[FromOutside] = Decision{Verdict: Drop}, Decision{Verdict: Drop}
		}
		out = append(out, f)
	}
	return out
}

// addresses are those of the node where the port answers. A hostIP that is none of the node's is left out: to answer
// there would take traffic for somebody else's address. So are the node's own ports, except at loopback addresses.
func (p HostPort) addresses(node Node) []netip.Addr {
	own := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if p.Backend.Addr().Is6() {
		own[0] = netip.IPv6Loopback()
	}
	for _, a := range node.Addrs {
		if p.isOwnPort(node) {
			break
		}
		if a.Is6() == p.Backend.Addr().Is6() && !slices.Contains(own, a) {
			own = append(own, a)
		}
	}
	switch {
	case !p.HostIP.IsValid():
		return own
	case p.HostIP.IsLoopback() || slices.Contains(own, p.HostIP):
		return []netip.Addr{p.HostIP}
	}
	return nil
}

func (p HostPort) isOwnPort(node Node) bool {
	return slices.Contains(node.OwnPorts, OwnPort{Port: p.Port, Protocol: p.Protocol})
}

// WarnHostPorts tells which of a Pod's hostPorts are not served, and why; it returns "" if all are.
func WarnHostPorts(ports []HostPort, node Node) string {
	var out []string
	for _, p := range ports {
		switch {
		case p.Protocol != corev1.ProtocolTCP && p.Protocol != corev1.ProtocolUDP:
			out = append(out, fmt.Sprintf("hostPort %s/%s is not served: only TCP and UDP are", p.name(), p.Protocol))
		case !p.HostIP.IsLoopback() && p.isOwnPort(node):
			out = append(out, fmt.Sprintf("hostPort %s/%s is not served at the addresses of node %s: the node itself uses the port; choose another", p.name(), p.Protocol, node.Name))
		case len(p.addresses(node)) == 0:
			out = append(out, fmt.Sprintf("hostPort %s/%s is not served: hostIP %s is none of node %s's addresses %v", p.name(), p.Protocol, p.HostIP, node.Name, node.Addrs))
		}
	}
	return strings.Join(out, "; ")
}

// ExplainHostPorts runs the same decision as CompileHostPorts and keeps its reasons.
func ExplainHostPorts(pod types.NamespacedName, ports []HostPort, node Node) []Explanation {
	var out []Explanation
	for _, p := range ports {
		e := Explanation{
			PortName: p.name(), Protocol: p.Protocol, IPv6: p.Backend.Addr().Is6(), Topology: TopologyNode,
			Frontends: p.frontends(pod, node),
			Candidates: []Candidate{{
				Endpoint: Endpoint{Addr: p.Backend, Node: node.Name, Zone: node.Zone, Pod: pod.Name, Local: true, Ready: true, Serving: true},
				Cluster:  HostPortPod, Local: HostPortPod,
			}},
		}
		out = append(out, e)
	}
	return out
}
