package apiserver

import (
	"context"
	"sync/atomic"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Upstream's names of the two plugins that evaluate policies.
const (
	validatingPolicies = "ValidatingAdmissionPolicy"
	mutatingPolicies   = "MutatingAdmissionPolicy"
)

// policyGate lets requests past the policy plugins while these still prepare
// themselves, provided that there are no policies. A plugin notices no more
// than ten times a second that it has everything it needs, and a request that
// meets it before that waits in steps of the same length; on a new cluster that
// is all the time the first hundred writes need. Where there are policies,
// nothing changes.
type policyGate struct {
	informers informers.SharedInformerFactory
}

var _ admission.Decorator = policyGate{}

// Decorate implements admission.Decorator.
func (g policyGate) Decorate(handler admission.Interface, name string) admission.Interface {
	api := g.informers.Admissionregistration().V1()
	switch name {
	case validatingPolicies:
		if plugin, ok := handler.(validator); ok {
			return gatedValidator{plugin, newGate(plugin, api.ValidatingAdmissionPolicies().Informer())}
		}
	case mutatingPolicies:
		if plugin, ok := handler.(mutator); ok {
			return gatedMutator{plugin, newGate(plugin, api.MutatingAdmissionPolicies().Informer())}
		}
	}
	return handler
}

// waiter is a plugin that blocks until it is ready, up to ten seconds.
type waiter interface{ WaitForReady() bool }

type validator interface {
	admission.ValidationInterface
	waiter
}

type mutator interface {
	admission.MutationInterface
	waiter
}

// gate tells whether a plugin may be left out.
type gate struct {
	plugin   waiter
	policies cache.SharedIndexInformer
	asked    atomic.Bool
	ready    atomic.Bool
}

func newGate(plugin waiter, policies cache.SharedIndexInformer) *gate {
	return &gate{plugin: plugin, policies: policies}
}

// open reports that the plugin has nothing to evaluate and isn't ready to.
func (g *gate) open() bool {
	if g.ready.Load() {
		return false
	}
	if !g.asked.Swap(true) {
		go func() {
			// False after ten seconds means that the server is in trouble or has
			// stopped; the next request asks again.
			g.ready.Store(g.plugin.WaitForReady())
			g.asked.Store(false)
		}()
	}
	return g.policies.HasSynced() && len(g.policies.GetStore().ListKeys()) == 0
}

type gatedValidator struct {
	validator
	gate *gate
}

// Validate implements admission.ValidationInterface.
func (p gatedValidator) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p.gate.open() {
		return nil
	}
	return p.validator.Validate(ctx, a, o)
}

type gatedMutator struct {
	mutator
	gate *gate
}

// Admit implements admission.MutationInterface.
func (p gatedMutator) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p.gate.open() {
		return nil
	}
	return p.mutator.Admit(ctx, a, o)
}
