package apiserver

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"minato/internal/loadbalancer/config/metallb"
)

// webhookPatience is how long MetalLB's webhooks may take, in seconds.
const webhookPatience = 2

// forServer makes objects ready for the API server's informers.
func forServer(obj any) (any, error) {
	if c, ok := obj.(*admissionregistrationv1.ValidatingWebhookConfiguration); ok {
		relaxWebhooks(c)
	}
	return trim(obj)
}

// relaxWebhooks lets requests pass when MetalLB's webhooks do not answer. Its
// manifests want such requests refused, so without its controller, which serves
// the webhooks and which nobody needs here, nothing could be configured. What
// the webhooks check, the plugin MinatoLoadBalancing checks as well. The object
// that clients see stays as it is.
func relaxWebhooks(c *admissionregistrationv1.ValidatingWebhookConfiguration) {
	ignore, patience := admissionregistrationv1.Ignore, int32(webhookPatience)
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		if !ofMetalLB(w) {
			continue
		}
		w.FailurePolicy = &ignore
		if w.TimeoutSeconds == nil || *w.TimeoutSeconds > patience {
			w.TimeoutSeconds = &patience
		}
	}
}

// ofMetalLB tells whether a webhook is one of MetalLB's manifests: by its name,
// and since it is asked about MetalLB's objects and nothing else.
func ofMetalLB(w *admissionregistrationv1.ValidatingWebhook) bool {
	return strings.HasSuffix(w.Name, "validationwebhook."+metallb.Group) && w.ClientConfig.Service != nil && len(w.Rules) > 0 &&
		!slices.ContainsFunc(w.Rules, func(r admissionregistrationv1.RuleWithOperations) bool {
			return !slices.Equal(r.APIGroups, []string{metallb.Group})
		})
}
