package apiserver

import (
	"context"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/apis/node"
)

// warningPlugin is the name of the admission plugin that warns.
const warningPlugin = "MinatoUnsupported"

// podWarnings is everything about a Pod that the API accepts and the nodes of
// this cluster refuse. Each returns the field and what to know about it, or
// nothing.
var podWarnings = []func(*core.PodSpec, *field.Path) (*field.Path, string){
	func(s *core.PodSpec, at *field.Path) (*field.Path, string) {
		return appArmorField(s, at), "nodes of this cluster have no AppArmor profile of their own and refuse the Pod; leave the field out, or use the type Localhost or Unconfined"
	},
}

// appArmorField is the first field that asks for the nodes' own AppArmor profile.
func appArmorField(s *core.PodSpec, at *field.Path) *field.Path {
	asks := func(p *core.AppArmorProfile) bool {
		return p != nil && p.Type == core.AppArmorProfileTypeRuntimeDefault
	}
	if s.SecurityContext != nil && asks(s.SecurityContext.AppArmorProfile) {
		return at.Child("securityContext", "appArmorProfile")
	}
	inside := func(list *field.Path, containers []core.Container) *field.Path {
		for i, c := range containers {
			if c.SecurityContext != nil && asks(c.SecurityContext.AppArmorProfile) {
				return list.Index(i).Child("securityContext", "appArmorProfile")
			}
		}
		return nil
	}
	if p := inside(at.Child("initContainers"), s.InitContainers); p != nil {
		return p
	}
	return inside(at.Child("containers"), s.Containers)
}

// addWarnings registers the plugin and turns it on. handlers are those that a
// RuntimeClass may name on this cluster's nodes; nil is any.
func addWarnings(o *genericoptions.AdmissionOptions, handlers []string) {
	o.Plugins.Register(warningPlugin, func(io.Reader) (admission.Interface, error) {
		return unsupported{admission.NewHandler(admission.Create, admission.Update), handlers}, nil
	})
	o.RecommendedPluginOrder = append(slices.Clone(o.RecommendedPluginOrder), warningPlugin)
	o.EnablePlugins = append(o.EnablePlugins, warningPlugin)
}

// unsupported warns the client that writes an object with fields on which this
// cluster does not act. It refuses nothing.
type unsupported struct {
	*admission.Handler
	handlers []string
}

var _ admission.ValidationInterface = unsupported{}

// Validate implements admission.ValidationInterface.
func (u unsupported) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() == "" {
		for _, text := range warningsOf(a.GetObject(), a.GetOperation(), u.handlers) {
			warning.AddWarning(ctx, "", text)
		}
	}
	return nil
}

// warningsOf is everything to be said about an object that is written.
func warningsOf(obj runtime.Object, operation admission.Operation, handlers []string) []string {
	switch o := obj.(type) {
	case *networking.NetworkPolicy:
		return []string{fmt.Sprintf("NetworkPolicy %q has no effect: this cluster does not enforce NetworkPolicies", o.Name)}
	case *node.RuntimeClass:
		if handlers == nil || slices.Contains(handlers, o.Handler) {
			return nil
		}
		return []string{fmt.Sprintf("RuntimeClass %q: nodes of this cluster have no handler %q and refuse its Pods", o.Name, o.Handler)}
	case *core.Pod:
		if operation == admission.Update {
			return nil // it is too late to change the fields, and controllers update Pods often
		}
	}
	spec, at := podSpecOf(obj)
	if spec == nil {
		return nil
	}
	var out []string
	for _, check := range podWarnings {
		if where, text := check(spec, at); where != nil {
			out = append(out, fmt.Sprintf("%s: %s", where, text))
		}
	}
	return out
}
