package foreign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// NodeName is the name of the node's object: the one given, or else NODE_NAME of the environment, or the host's name.
func NodeName(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if name := os.Getenv("NODE_NAME"); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of the node: %w; give it with --node", err)
	}
	return strings.ToLower(name), nil
}

// NeedRoot returns an error for a user who can't change the kernel.
func NeedRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can load eBPF programs and make interfaces and routes: run it as root, or in a privileged container")
	}
	return nil
}

// nodeRetry is the pause between two tries to read the Node object, which the kubelet may not have made yet.
const nodeRetry = 2 * time.Second

// WaitNode reads the Node object once it is there and has addresses.
func WaitNode(ctx context.Context, client kubernetes.Interface, name string, log *slog.Logger) (*corev1.Node, error) {
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

// addressesOf are those of a Node object, internal ones first.
func addressesOf(node *corev1.Node) []netip.Addr {
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
