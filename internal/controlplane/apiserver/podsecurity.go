package apiserver

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/plugin/pkg/admission/security/podsecurity"
)

// judgeWithoutUserNamespace has Pod Security judge a Pod with hostUsers: false
// like any other. Since 1.35 upstream's standards let such a Pod run as root
// and unmask /proc, because its root is nobody outside of its user namespace
// (KEP-127, "Pod Security Standards"). This cluster's nodes make no user
// namespaces, and its root would be the machine's.
func judgeWithoutUserNamespace(handler admission.Interface, name string) admission.Interface {
	if plugin, ok := handler.(admission.ValidationInterface); ok && name == podsecurity.PluginName {
		return strictPodSecurity{plugin}
	}
	return handler
}

// strictPodSecurity hides the field hostUsers from the plugin that it wraps.
type strictPodSecurity struct {
	admission.ValidationInterface
}

// Validate implements admission.ValidationInterface.
func (p strictPodSecurity) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.ValidationInterface.Validate(ctx, withoutUserNamespace{a}, o)
}

// withoutUserNamespace are the attributes of a request with hostUsers removed
// from the Pods or templates in it.
type withoutUserNamespace struct {
	admission.Attributes
}

// GetObject implements admission.Attributes.
func (a withoutUserNamespace) GetObject() runtime.Object {
	return dropHostUsers(a.Attributes.GetObject())
}

// GetOldObject implements admission.Attributes.
func (a withoutUserNamespace) GetOldObject() runtime.Object {
	return dropHostUsers(a.Attributes.GetOldObject())
}

// dropHostUsers returns obj, or a copy that doesn't ask for a user namespace.
func dropHostUsers(obj runtime.Object) runtime.Object {
	if spec, _ := podSpecOf(obj); !inUserNamespace(spec) {
		return obj
	}
	obj = obj.DeepCopyObject()
	spec, _ := podSpecOf(obj)
	spec.SecurityContext.HostUsers = nil
	return obj
}
