package node

import (
	"context"
	"fmt"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// runLease renews the node's lease, by which the control plane knows that the
// node is alive. It begins once the node is registered.
func runLease(ctx context.Context, cfg *Config, registered <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case <-registered:
	}
	var held *coordv1.Lease
	for pause := time.Second; ; {
		next, err := renewLease(ctx, cfg, held)
		wait := leaseRenewal
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			cfg.Logger.Warn("node lease could not be renewed; will try again", "node", cfg.Name, "error", err)
			next, wait = nil, pause // read it anew: somebody else may have changed it
			pause = min(2*pause, leaseRenewal)
		} else {
			pause = time.Second
		}
		held = next
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func renewLease(ctx context.Context, cfg *Config, held *coordv1.Lease) (*coordv1.Lease, error) {
	leases := cfg.Client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	if held == nil {
		have, err := leases.Get(ctx, cfg.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			lease, err := newLease(ctx, cfg)
			if err != nil {
				return nil, err
			}
			created, err := leases.Create(ctx, lease, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("create lease: %w", err)
			}
			return created, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read lease: %w", err)
		}
		held = have
	}
	held = held.DeepCopy()
	fillLease(held, cfg.Name)
	got, err := leases.Update(ctx, held, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("update lease: %w", err)
	}
	return got, nil
}

// newLease belongs to the Node, so that it goes with it.
func newLease(ctx context.Context, cfg *Config) (*coordv1.Lease, error) {
	node, err := cfg.Client.CoreV1().Nodes().Get(ctx, cfg.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read node for its lease: %w", err)
	}
	lease := &coordv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: cfg.Name, Namespace: v1.NamespaceNodeLease,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
	}}
	fillLease(lease, cfg.Name)
	return lease, nil
}

func fillLease(l *coordv1.Lease, holder string) {
	seconds := int32(leaseDuration / time.Second)
	now := metav1.NowMicro()
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
}
