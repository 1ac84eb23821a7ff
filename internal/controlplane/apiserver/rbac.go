package apiserver

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"golang.org/x/sync/errgroup"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer/config"
)

// ensureRBAC creates upstream's default roles and bindings and those of
// Minato's own parts, or adds what is missing from them. Upstream's
// reconciliation decides what is missing; only its look-ups are answered from
// four lists instead of one request per object.
//
// Upstream also moves roles that Kubernetes before 1.9 and 1.14 wrote. No data
// that old can be behind this version.
func (s *Server) ensureRBAC(ctx context.Context) error {
	return s.reconcile(ctx, s.partsPolicy(), upstreamPolicy())
}

// reconcile brings roles and bindings up to date, in the order given.
func (s *Server) reconcile(ctx context.Context, policies ...policy) error {
	known, err := s.listRBAC(ctx)
	if err != nil {
		return err
	}
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(bootstrapWriters)
	role := func(want reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier, kind string) {
		g.Go(func() error {
			if ok, err := s.accepts(ctx, want.GetNamespace()); !ok {
				return err
			}
			o := reconciliation.ReconcileRoleOptions{Role: want, Client: client, Confirm: true}
			if _, err := o.Run(); err != nil {
				return fmt.Errorf("reconcile %s %s: %w", kind, want.GetName(), err)
			}
			return nil
		})
	}
	binding := func(want reconciliation.RoleBinding, client reconciliation.RoleBindingModifier, kind string) {
		g.Go(func() error {
			if ok, err := s.accepts(ctx, want.GetNamespace()); !ok {
				return err
			}
			o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: want, Client: client, Confirm: true}
			if _, err := o.Run(); err != nil {
				return fmt.Errorf("reconcile %s %s: %w", kind, want.GetName(), err)
			}
			return nil
		})
	}

	rbac, namespaces := s.client.RbacV1(), systemNamespaces{s.client.CoreV1().Namespaces(), s.namespaces.done}
	clusterRoles := knownRoles{reconciliation.ClusterRoleModifier{Client: rbac.ClusterRoles()}, known.roles}
	clusterBindings := knownBindings{reconciliation.ClusterRoleBindingClientAdapter{Client: rbac.ClusterRoleBindings()}, known.bindings}
	roles := knownRoles{reconciliation.RoleModifier{Client: rbac, NamespaceClient: namespaces}, known.roles}
	bindings := knownBindings{reconciliation.RoleBindingClientAdapter{Client: rbac, NamespaceClient: namespaces}, known.bindings}
	for _, p := range policies {
		for _, r := range p.clusterRoles {
			role(reconciliation.ClusterRoleRuleOwner{ClusterRole: &r}, clusterRoles, "ClusterRole")
		}
		for _, b := range p.clusterBindings {
			binding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &b}, clusterBindings, "ClusterRoleBinding")
		}
		for _, r := range p.roles {
			role(reconciliation.RoleRuleOwner{Role: &r}, roles, "Role")
		}
		for _, b := range p.bindings {
			binding(reconciliation.RoleBindingAdapter{RoleBinding: &b}, bindings, "RoleBinding")
		}
	}
	return g.Wait()
}

// accepts tells whether objects can be created in a namespace. That of MetalLB's
// objects, unlike the others that have roles of ours, can be deleted, and what
// is in it may take long to go. keepRights is told when it is there again.
func (s *Server) accepts(ctx context.Context, namespace string) (bool, error) {
	if namespace != config.Namespace {
		return true, nil
	}
	<-s.namespaces.done // at the latest when the server stops
	ns, err := s.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	return ns.DeletionTimestamp == nil, nil
}

// policy is a set of roles and bindings.
type policy struct {
	clusterRoles    []rbacv1.ClusterRole
	clusterBindings []rbacv1.ClusterRoleBinding
	roles           []rbacv1.Role
	bindings        []rbacv1.RoleBinding
}

// partsPolicy is what Minato's parts need. It comes first, because the parts'
// requests wait for it.
func (s *Server) partsPolicy() policy {
	return policy{access.ClusterRoles(s.dnsAddresses()), access.ClusterRoleBindings(), access.Roles(), access.RoleBindings()}
}

// upstreamPolicy is what every cluster has.
func upstreamPolicy() policy {
	return policy{
		append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		flatten(bootstrappolicy.NamespaceRoles()), flatten(bootstrappolicy.NamespaceRoleBindings()),
	}
}

// flatten joins the lists of all namespaces.
func flatten[T any](byNamespace map[string][]T) []T {
	return slices.Concat(slices.Collect(maps.Values(byNamespace))...)
}

// dnsAddresses are those of the kube-dns Service: the tenth of each range, as
// everywhere.
func (s *Server) dnsAddresses() []netip.Addr {
	out := make([]netip.Addr, 0, len(s.cfg.ServiceCIDRs))
	for _, r := range s.cfg.ServiceCIDRs {
		addr := r.Masked().Addr()
		for range 10 {
			addr = addr.Next()
		}
		out = append(out, addr)
	}
	return out
}

// systemNamespaces answers Get once another task has created the system's
// namespaces, without a request. Upstream's reconciliation asks for the
// namespace of each role and binding, and creates it where it is missing.
type systemNamespaces struct {
	corev1client.NamespaceInterface
	created <-chan struct{}
}

// Get implements corev1client.NamespaceInterface.
func (n systemNamespaces) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	<-n.created // at the latest when the server stops
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil
}

type objectKey struct{ namespace, name string }

// rbacObjects is what existed when the reconciliation began.
type rbacObjects struct {
	roles    map[objectKey]reconciliation.RuleOwner
	bindings map[objectKey]reconciliation.RoleBinding
}

func (s *Server) listRBAC(ctx context.Context) (rbacObjects, error) {
	known := rbacObjects{map[objectKey]reconciliation.RuleOwner{}, map[objectKey]reconciliation.RoleBinding{}}
	rbac := s.client.RbacV1()
	clusterRoles, err := rbac.ClusterRoles().List(ctx, cachedList())
	if err != nil {
		return known, fmt.Errorf("list ClusterRoles: %w", err)
	}
	for i := range clusterRoles.Items {
		o := &clusterRoles.Items[i]
		known.roles[objectKey{name: o.Name}] = reconciliation.ClusterRoleRuleOwner{ClusterRole: o}
	}
	clusterBindings, err := rbac.ClusterRoleBindings().List(ctx, cachedList())
	if err != nil {
		return known, fmt.Errorf("list ClusterRoleBindings: %w", err)
	}
	for i := range clusterBindings.Items {
		o := &clusterBindings.Items[i]
		known.bindings[objectKey{name: o.Name}] = reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: o}
	}
	roles, err := rbac.Roles(metav1.NamespaceAll).List(ctx, cachedList())
	if err != nil {
		return known, fmt.Errorf("list Roles: %w", err)
	}
	for i := range roles.Items {
		o := &roles.Items[i]
		known.roles[objectKey{o.Namespace, o.Name}] = reconciliation.RoleRuleOwner{Role: o}
	}
	bindings, err := rbac.RoleBindings(metav1.NamespaceAll).List(ctx, cachedList())
	if err != nil {
		return known, fmt.Errorf("list RoleBindings: %w", err)
	}
	for i := range bindings.Items {
		o := &bindings.Items[i]
		known.bindings[objectKey{o.Namespace, o.Name}] = reconciliation.RoleBindingAdapter{RoleBinding: o}
	}
	return known, nil
}

// knownRoles answers Get from the lists. A change by somebody else meanwhile
// makes the write fail, and the next attempt lists anew.
type knownRoles struct {
	reconciliation.RuleOwnerModifier
	objects map[objectKey]reconciliation.RuleOwner
}

func (k knownRoles) Get(namespace, name string) (reconciliation.RuleOwner, error) {
	if o, ok := k.objects[objectKey{namespace, name}]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(rbacv1.Resource("roles"), name)
}

// knownBindings is knownRoles for bindings.
type knownBindings struct {
	reconciliation.RoleBindingModifier
	objects map[objectKey]reconciliation.RoleBinding
}

func (k knownBindings) Get(namespace, name string) (reconciliation.RoleBinding, error) {
	if o, ok := k.objects[objectKey{namespace, name}]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(rbacv1.Resource("rolebindings"), name)
}
