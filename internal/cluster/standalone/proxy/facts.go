package proxy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"minato/internal/host"
)

// facts are the addresses, interfaces and ranges that the data plane of a node is made with. When they change, it is made
// anew.
type facts struct {
	// uplinks have the node's addresses; ips are one of these of each family.
	uplinks []string
	ips     []netip.Addr
	// object are all addresses of the Node object.
	object []netip.Addr
	// services are the ranges of cluster IPs, of the families of ips.
	services []netip.Prefix
}

func (f facts) equal(o facts) bool {
	return slices.Equal(f.uplinks, o.uplinks) && slices.Equal(f.ips, o.ips) && slices.Equal(f.object, o.object) && slices.Equal(f.services, o.services)
}

// learnFacts waits for the node's object and puts together what it, the machine and the cluster say.
func learnFacts(ctx context.Context, client kubernetes.Interface, cfg *Config, log *slog.Logger) (facts, error) {
	node, err := waitNode(ctx, client, cfg.Node, log)
	if err != nil {
		return facts{}, err
	}
	ranges := cfg.ServiceCIDRs
	if len(ranges) == 0 {
		list, err := client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
		if err != nil {
			return facts{}, fmt.Errorf("list the cluster's ServiceCIDR objects: %w; give its ranges of cluster IPs with --service-cidr", err)
		}
		for i := range list.Items {
			ranges = append(ranges, rangesOf(&list.Items[i])...)
		}
	}
	return gatherFacts(node, cfg.Uplinks, ranges)
}

// nodeRetry is the pause between two tries to read the Node object, which the kubelet may not have made yet.
const nodeRetry = 2 * time.Second

func waitNode(ctx context.Context, client kubernetes.Interface, name string, log *slog.Logger) (*corev1.Node, error) {
	for {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil && len(node.Status.Addresses) > 0 {
			return node, nil
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return nil, fmt.Errorf("read Node %s: %w", name, err)
		}
		log.Warn("The Node object of this node can't be read yet; --node gives another name", "node", name, "error", err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(nodeRetry):
		}
	}
}

func rangesOf(o *networkingv1.ServiceCIDR) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range o.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// gatherFacts reads the interfaces of this network namespace.
func gatherFacts(node *corev1.Node, uplinks []string, ranges []netip.Prefix) (facts, error) {
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return facts{}, err
	}
	defer n.Close()
	have, err := n.Addresses()
	if err != nil {
		return facts{}, err
	}
	return decideFacts(node, have, uplinks, ranges)
}

// decideFacts picks the node's addresses: those of its Node object that an interface has, internal ones first; if no
// interface has one, the addresses of the uplinks that were given.
func decideFacts(node *corev1.Node, have []host.LinkAddress, uplinks []string, ranges []netip.Prefix) (facts, error) {
	f := facts{uplinks: slices.Clone(uplinks), object: nodeAddresses(node)}
	take := func(a host.LinkAddress) {
		if !slices.ContainsFunc(f.ips, func(o netip.Addr) bool { return o.Is6() == a.Address.Is6() }) {
			f.ips = append(f.ips, a.Address)
		}
	}
	for _, ip := range f.object {
		i := slices.IndexFunc(have, func(a host.LinkAddress) bool { return a.Address == ip })
		if i < 0 || len(uplinks) > 0 && !slices.Contains(uplinks, have[i].Link) {
			continue
		}
		if !slices.Contains(f.uplinks, have[i].Link) {
			f.uplinks = append(f.uplinks, have[i].Link)
		}
		take(have[i])
	}
	if len(f.ips) == 0 {
		for _, a := range have {
			if slices.Contains(uplinks, a.Link) {
				take(a)
			}
		}
	}
	if len(f.ips) == 0 {
		return f, fmt.Errorf("no interface has one of the addresses of Node %s, %v; name the interface towards the outside with --uplink", node.Name, f.object)
	}
	for _, p := range ranges {
		if slices.ContainsFunc(f.ips, func(ip netip.Addr) bool { return ip.Is6() == p.Addr().Is6() }) && !slices.Contains(f.services, p) {
			f.services = append(f.services, p)
		}
	}
	slices.SortFunc(f.services, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	if len(f.services) == 0 {
		return f, fmt.Errorf("none of the ranges of cluster IPs %v is of the IP family of the node's addresses %v; give the ranges with --service-cidr", ranges, f.ips)
	}
	return f, nil
}

// nodeAddresses are those of the object, internal ones first.
func nodeAddresses(node *corev1.Node) []netip.Addr {
	var out []netip.Addr
	order := map[corev1.NodeAddressType]int{corev1.NodeInternalIP: 1, corev1.NodeExternalIP: 2}
	all := slices.Clone(node.Status.Addresses)
	slices.SortStableFunc(all, func(a, b corev1.NodeAddress) int { return cmp.Compare(order[a.Type], order[b.Type]) })
	for _, a := range all {
		if ip, err := netip.ParseAddr(a.Address); err == nil && order[a.Type] > 0 {
			out = append(out, ip.Unmap())
		}
	}
	return out
}
