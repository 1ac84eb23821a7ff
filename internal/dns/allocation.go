package dns

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// orphanAge is how old the allocation of an address must be to be an orphan and not one of a request that is being
// served.
const orphanAge = 3 * time.Second

// createService creates the Service. An API server that was killed in the middle of that has allocated the address and
// has no Service that has it; its own repair leaves such an allocation for a minute, in which no Pod would know a name.
func (r *Registration) createService(ctx context.Context, want *corev1.Service) error {
	_, err := r.cfg.Client.CoreV1().Services(ServiceNamespace).Create(ctx, want, metav1.CreateOptions{})
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil // another node was first; its event brings us back to compare
	case apierrors.IsInvalid(err):
		err = errors.Join(err, r.freeOrphans(ctx))
	}
	return fmt.Errorf("create Service %s/%s with clusterIP %s: %w", ServiceNamespace, ServiceName, want.Spec.ClusterIP, err)
}

// freeOrphans deletes the allocations of our addresses for our Service, which does not exist.
func (r *Registration) freeOrphans(ctx context.Context) error {
	addresses := r.cfg.Client.NetworkingV1().IPAddresses()
	var errs []error
	for _, ip := range r.cfg.ServiceIPs {
		a, err := addresses.Get(ctx, ip.String(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && !isOurs(a.Spec.ParentRef) {
			continue
		}
		if err == nil && time.Since(a.CreationTimestamp.Time) > orphanAge {
			err = addresses.Delete(ctx, a.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.UID))})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("free IPAddress %s: %w", ip, err))
		}
	}
	return errors.Join(errs...)
}

func isOurs(p *networkingv1.ParentReference) bool {
	return p != nil && p.Group == "" && p.Resource == "services" && p.Namespace == ServiceNamespace && p.Name == ServiceName
}
