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

// orphanAge is the age from which an IPAddress without its Service is taken for an orphan: a younger one may belong to a
// request that the API server is serving.
const orphanAge = 3 * time.Second

// createService creates the Service. An API server that is killed meanwhile may leave the cluster IP allocated to a
// Service that does not exist. Its own repair frees the address after a minute; until then no Pod could look up a name,
// so the allocation is deleted here.
func (r *Registration) createService(ctx context.Context, want *corev1.Service) error {
	_, err := r.cfg.Client.CoreV1().Services(ServiceNamespace).Create(ctx, want, metav1.CreateOptions{})
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil // another node was first; the event about its Service has it compared
	case apierrors.IsInvalid(err):
		err = errors.Join(err, r.freeOrphans(ctx))
	}
	return fmt.Errorf("create Service %s/%s with clusterIP %s: %w", ServiceNamespace, ServiceName, want.Spec.ClusterIP, err)
}

// freeOrphans deletes the IPAddresses that are allocated to the kube-dns Service, which does not exist.
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
