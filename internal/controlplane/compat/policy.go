package compat

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/policy"

	"minato/internal/controlplane/compat/gone"
)

// policyGone says what there is today in place of PodSecurityPolicy.
const policyGone = "Kubernetes v1.25 removed PodSecurityPolicy, and nothing would enforce it; use Pod Security admission: " +
	"label namespaces with pod-security.kubernetes.io/enforce=baseline or =restricted " +
	"(https://kubernetes.io/docs/concepts/security/pod-security-admission/)"

const policies = "podsecuritypolicies"

// policyStorage refuses PodSecurityPolicies and says what to use: clients would say no
// more than that there is no such kind. Nobody lists or watches it, so that no
// controller minds it.
type policyStorage struct{ resource schema.GroupResource }

var (
	_ rest.Creater         = policyStorage{}
	_ rest.Getter          = policyStorage{}
	_ rest.GracefulDeleter = policyStorage{}
	_ rest.Scoper          = policyStorage{}
)

// New implements rest.Storage.
func (policyStorage) New() runtime.Object { return &gone.PodSecurityPolicy{} }

// Destroy implements rest.Storage.
func (policyStorage) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (policyStorage) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (policyStorage) GetSingularName() string { return "podsecuritypolicy" }

// ShortNames implements rest.ShortNamesProvider. One of the groups alone has the short
// name, as for twinStorage.
func (p policyStorage) ShortNames() []string {
	if p.resource.Group != policy.GroupName {
		return nil
	}
	return []string{"psp"}
}

// Create implements rest.Creater.
func (p policyStorage) Create(_ context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	name := ""
	if psp, ok := obj.(*gone.PodSecurityPolicy); ok {
		name = psp.Name
	}
	return nil, apierrors.NewForbidden(p.resource, name, errors.New(policyGone))
}

// Get implements rest.Getter.
func (p policyStorage) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	return nil, apierrors.NewNotFound(p.resource, name)
}

// Delete implements rest.GracefulDeleter.
func (p policyStorage) Delete(_ context.Context, name string, _ rest.ValidateObjectFunc, _ *metav1.DeleteOptions) (runtime.Object, bool, error) {
	return nil, false, apierrors.NewNotFound(p.resource, name)
}
