package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/retry"

	"minato/internal/claims/plan"
	"minato/internal/dns"
	"minato/internal/ingress"
)

// unregister takes a node that does not run from behind the Services that nodes
// serve themselves.
func (s *Server) unregister(ctx context.Context, name string) error {
	return errors.Join(dns.Unregister(ctx, s.nodesClient, name), ingress.Unregister(ctx, s.nodesClient, name))
}

// forget removes what the API has of a node that is gone: its Pods, which can't
// run any more, the PersistentVolumes of its directories, and the Node, with which
// Kubernetes collects its Lease.
func (s *Server) forget(ctx context.Context, name string) error {
	now := int64(0)
	core := s.nodesClient.CoreV1()
	err := ignoreNotFound(core.Nodes().Delete(ctx, name, metav1.DeleteOptions{}))
	if err != nil {
		return fmt.Errorf("delete Node %s: %w", name, err)
	}
	pods, err := core.Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String()})
	if err != nil {
		return fmt.Errorf("list the Pods of node %s: %w", name, err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		err := core.Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete Pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return s.forgetVolumes(ctx, name)
}

// forgetVolumes removes the PersistentVolumes whose directories go with a node.
func (s *Server) forgetVolumes(ctx context.Context, node string) error {
	volumes := s.nodesClient.CoreV1().PersistentVolumes()
	all, err := volumes.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list PersistentVolumes: %w", err)
	}
	for i := range all.Items {
		pv := &all.Items[i]
		if on, ok := plan.Ours(pv); !ok || on != node {
			continue
		}
		if err := ignoreNotFound(volumes.Delete(ctx, pv.Name, metav1.DeleteOptions{})); err != nil {
			return fmt.Errorf("delete PersistentVolume %s: %w", pv.Name, err)
		}
		// Kubernetes' controllers keep one for as long as its claim lives; here
		// the data is gone, and the claim is told to be Lost.
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			have, err := volumes.Get(ctx, pv.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			have.Finalizers = slices.DeleteFunc(have.Finalizers, func(f string) bool { return f == plan.Finalizer || f == "kubernetes.io/pv-protection" })
			_, err = volumes.Update(ctx, have, metav1.UpdateOptions{})
			return err
		})
		if ignoreNotFound(err) != nil {
			return fmt.Errorf("remove the finalizers of PersistentVolume %s: %w", pv.Name, err)
		}
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
