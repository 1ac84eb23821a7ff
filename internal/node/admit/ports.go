package admit

import (
	"fmt"
	"net/netip"

	v1 "k8s.io/api/core/v1"
)

// HostPort is a port of the node that a Pod asks for.
type HostPort struct {
	IP       string // 0.0.0.0 for all addresses
	Protocol v1.Protocol
	Port     int32
}

// allAddresses stands for every address of the node, as the scheduler has it.
const allAddresses = "0.0.0.0"

// HostPorts lists the node's ports that a Pod asks for as long as it runs:
// those of its containers and sidecars.
func HostPorts(pod *v1.Pod) []HostPort {
	var out []HostPort
	add := func(c *v1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			h := HostPort{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
			if h.IP == "" {
				h.IP = allAddresses
			}
			if h.Protocol == "" {
				h.Protocol = v1.ProtocolTCP
			}
			out = append(out, h)
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

// Conflict returns a port that both Pods ask for. As for the scheduler, a port
// of all addresses is in the way of the same port of any one of them; :: is an
// address like any other.
func Conflict(a, b *v1.Pod) (HostPort, bool) {
	taken := HostPorts(b)
	for _, p := range HostPorts(a) {
		for _, q := range taken {
			if p.Port == q.Port && p.Protocol == q.Protocol && (p.IP == q.IP || p.IP == allAddresses || q.IP == allAddresses) {
				return p, true
			}
		}
	}
	return HostPort{}, false
}

// own returns a hostPort of the Pod at which the node itself answers: the data
// plane does not take those from the node. A Pod in the node's network binds its
// ports itself, and one at a loopback address is in nobody's way.
func own(in Input) (HostPort, bool) {
	if in.Pod.Spec.HostNetwork {
		return HostPort{}, false
	}
	for _, p := range HostPorts(in.Pod) {
		if ip, err := netip.ParseAddr(p.IP); err == nil && ip.IsLoopback() {
			continue
		}
		for _, q := range in.OwnPorts {
			if p.Port == q.Port && p.Protocol == q.Protocol {
				return p, true
			}
		}
	}
	return HostPort{}, false
}

func ports(in Input) *Refusal {
	if p, is := own(in); is {
		return predicate("NodePorts", fmt.Sprintf("hostPort %d of protocol %s is one at which the node itself answers; choose another", p.Port, p.Protocol))
	}
	for _, other := range in.Others {
		if _, taken := Conflict(in.Pod, other); taken {
			return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
		}
	}
	return nil
}
