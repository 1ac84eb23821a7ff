package compat

import (
	"context"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/core"

	"minato/internal/service/route"
)

// warningPlugin is the name of the admission plugin that shows today's form.
const warningPlugin = "MinatoOldAPIs"

// AddWarnings registers the plugin and turns it on, after all others: it shows
// what is stored.
func AddWarnings(o *genericoptions.AdmissionOptions) {
	o.Plugins.Register(warningPlugin, func(io.Reader) (admission.Interface, error) {
		return forms{admission.NewHandler(admission.Create, admission.Update)}, nil
	})
	o.RecommendedPluginOrder = append(slices.Clone(o.RecommendedPluginOrder), warningPlugin)
	o.EnablePlugins = append(o.EnablePlugins, warningPlugin)
}

// forms shows the client that writes an object in an old version what it is like
// in today's. Upstream's API server names today's version in a warning of its
// own, for reads as well.
type forms struct {
	*admission.Handler
}

var (
	_ admission.MutationInterface   = forms{}
	_ admission.ValidationInterface = forms{}
)

// Admit implements admission.MutationInterface: what is written means today what it
// meant in the old version.
func (forms) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() == "" && find(a.GetResource()) != nil {
		adapt(a.GetObject())
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (forms) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	if service, ok := a.GetObject().(*core.Service); ok {
		return checkService(ctx, service, a.GetOldObject())
	}
	for _, text := range warningsOf(a.GetResource(), a.GetObject()) {
		warning.AddWarning(ctx, "", text)
	}
	return nil
}

// checkService refuses topology keys that Kubernetes would have refused, unless they
// were there before, and says what there is in their place today.
func checkService(ctx context.Context, service *core.Service, before runtime.Object) error {
	text := service.Annotations[route.AnnotationTopologyKeys]
	keys := route.TopologyKeys(carrier(text))
	if len(keys) == 0 {
		return nil
	}
	was, ok := before.(*core.Service)
	same := ok && was.Annotations[route.AnnotationTopologyKeys] == text && was.Spec.ExternalTrafficPolicy == service.Spec.ExternalTrafficPolicy
	if errs := checkTopologyKeys(service); len(errs) > 0 && !same {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), service.Name, errs)
	}
	warning.AddWarning(ctx, "", cut(topologyForm(keys)))
	return nil
}

// warningsOf shows obj, an internal object that is written as a resource of an old
// version, in today's form: one warning for each kind of change.
func warningsOf(gvr schema.GroupVersionResource, obj runtime.Object) []string {
	r := find(gvr)
	if r == nil {
		return nil
	}
	const prefix = "today's form: "
	changes := r.changes(obj)
	if len(changes) == 0 {
		return []string{prefix + "apiVersion: " + r.today.String() + ", and all else as it is"}
	}
	if obj, err := r.scheme().New(r.old.WithKind(r.kind)); err == nil {
		// Upstream warns of old versions, but not of those that were never on by default.
		if _, ok := obj.(interface {
			APILifecycleDeprecated() (major, minor int)
		}); !ok {
			changes[0] = "apiVersion: " + r.today.String() + "; " + changes[0]
		}
	}
	for i := range changes {
		changes[i] = cut(prefix + changes[i])
	}
	return changes
}
