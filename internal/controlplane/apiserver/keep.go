package apiserver

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer/config"
)

// keepPause is how long changes of rights are gathered before they are looked
// at, and the pause after a try that failed.
const keepPause = 100 * time.Millisecond

// keepRights puts the roles and bindings of Minato's parts back when somebody
// deletes them or takes rules away, until ctx ends. The manifests in deploy/
// define some of the same roles, and deleting those manifests must not take
// the rights of a running cluster's own parts. As with upstream's roles at a
// start, one whose annotation rbac.authorization.kubernetes.io/autoupdate is
// "false" stays as it is.
//
// The namespace of MetalLB's objects is put back as well: deleting MetalLB's own
// manifests deletes it.
func (s *Server) keepRights(ctx context.Context) {
	changed := make(chan struct{}, 1)
	notify := func(obj any) {
		if ours(obj) {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
	rbac := s.informers.Rbac().V1()
	for _, informer := range []cache.SharedIndexInformer{
		rbac.ClusterRoles().Informer(), rbac.ClusterRoleBindings().Informer(), rbac.Roles().Informer(), rbac.RoleBindings().Informer(),
		s.informers.Core().V1().Namespaces().Informer(),
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(obj any, initial bool) {
				if _, ok := obj.(*corev1.Namespace); ok && !initial {
					notify(obj) // it has none of the roles
				}
			},
			UpdateFunc: func(_, obj any) { notify(obj) },
			DeleteFunc: notify,
		})
		if err != nil { // of an informer that has stopped
			s.cfg.Logger.Warn("Roles of Minato's parts are not put back when they are deleted", "error", err)
			return
		}
		defer func() { _ = informer.RemoveEventHandler(registration) }()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(keepPause):
		}
		err := s.ensureNamespaces(ctx)
		if err == nil {
			err = s.reconcile(ctx, s.partsPolicy())
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("Roles of Minato's parts could not be put back, will try again", "error", err)
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
}

// ours tells whether an object of an informer is one that keepRights puts back.
func ours(obj any) bool {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	o, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	if _, ok := obj.(*corev1.Namespace); ok {
		return o.GetName() == config.Namespace
	}
	return access.Owns(o.GetNamespace(), o.GetName())
}
