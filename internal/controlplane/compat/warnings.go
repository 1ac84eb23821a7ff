package compat

import (
	"context"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/warning"
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

var _ admission.ValidationInterface = forms{}

// Validate implements admission.ValidationInterface.
func (forms) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() == "" {
		for _, text := range warningsOf(a.GetResource(), a.GetObject()) {
			warning.AddWarning(ctx, "", text)
		}
	}
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
	changes := r.forms(obj)
	if len(changes) == 0 {
		return []string{prefix + "apiVersion: " + r.today.String() + ", and all else as it is"}
	}
	for i := range changes {
		changes[i] = cut(prefix + changes[i])
	}
	return changes
}
