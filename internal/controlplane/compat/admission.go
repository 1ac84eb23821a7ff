package compat

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
)

// Decorator has upstream's admission plugins take a request for an old version
// for one for today's: most of them know their objects by group and resource, so
// that an Ingress in extensions would get no default class and would not be
// counted by a quota. Webhooks and policies see what the client sent: they match
// equivalent resources themselves, or not, as their matchPolicy says.
type Decorator struct{}

var _ admission.Decorator = Decorator{}

// Decorate implements admission.Decorator.
func (Decorator) Decorate(handler admission.Interface, name string) admission.Interface {
	switch name {
	case mutatingwebhook.PluginName, validatingwebhook.PluginName, mutatingpolicy.PluginName, validatingpolicy.PluginName, warningPlugin:
		return handler
	}
	m, mutates := handler.(admission.MutationInterface)
	v, validates := handler.(admission.ValidationInterface)
	switch {
	case mutates && validates:
		return struct {
			admission.Interface
			mutator
			validator
		}{handler, mutator{m}, validator{v}}
	case mutates:
		return struct {
			admission.Interface
			mutator
		}{handler, mutator{m}}
	case validates:
		return struct {
			admission.Interface
			validator
		}{handler, validator{v}}
	}
	return handler
}

type mutator struct{ plugin admission.MutationInterface }

// Admit implements admission.MutationInterface.
func (p mutator) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.plugin.Admit(ctx, asToday(a), o)
}

type validator struct{ plugin admission.ValidationInterface }

// Validate implements admission.ValidationInterface.
func (p validator) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.plugin.Validate(ctx, asToday(a), o)
}

// asToday returns the attributes of a request for an old version as those of one
// for today's, and others as they are.
func asToday(a admission.Attributes) admission.Attributes {
	if r := find(a.GetResource()); r != nil {
		return todays{a, r}
	}
	return a
}

// todays are the attributes of a request with today's kind and resource; the
// object is internal, so it is the same.
type todays struct {
	admission.Attributes
	resource *resource
}

// GetResource implements admission.Attributes.
func (a todays) GetResource() schema.GroupVersionResource {
	return a.resource.today.WithResource(a.resource.name)
}

// GetKind implements admission.Attributes. The kind of a subresource may be of
// another group, and is left as it is then; only Scale was one of the group itself.
func (a todays) GetKind() schema.GroupVersionKind {
	kind := a.Attributes.GetKind()
	switch {
	case kind.GroupVersion() != a.resource.old:
		return kind
	case kind.Kind == "Scale":
		return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
	}
	return a.resource.today.WithKind(kind.Kind)
}
