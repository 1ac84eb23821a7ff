package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"minato/internal/cluster/standalone/foreign"
)

// facts are the addresses, interfaces and ranges that the data plane of a node is made with. When they change, it is made
// anew.
type facts struct {
	foreign.Interfaces
	// services are the ranges of cluster IPs, of the families of the node's addresses.
	services []netip.Prefix
}

func (f facts) equal(o facts) bool {
	return f.Equal(o.Interfaces) && slices.Equal(f.services, o.services)
}

// learnFacts waits for the node's object and puts together what it, the machine and the cluster say.
func learnFacts(ctx context.Context, client kubernetes.Interface, cfg *Config, log *slog.Logger) (facts, error) {
	node, err := foreign.WaitNode(ctx, client, cfg.Node, log)
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
	found, err := foreign.FindInterfaces(node, uplinks)
	if err != nil {
		return facts{}, err
	}
	return withRanges(found, ranges)
}

// withRanges picks the ranges of cluster IPs of the families that the node has.
func withRanges(found foreign.Interfaces, ranges []netip.Prefix) (facts, error) {
	f := facts{Interfaces: found}
	for _, p := range ranges {
		if f.Has(p.Addr()) && !slices.Contains(f.services, p) {
			f.services = append(f.services, p)
		}
	}
	slices.SortFunc(f.services, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	if len(f.services) == 0 {
		return f, fmt.Errorf("none of the ranges of cluster IPs %v is of the IP family of the node's addresses %v; give the ranges with --service-cidr", ranges, f.IPs)
	}
	return f, nil
}
