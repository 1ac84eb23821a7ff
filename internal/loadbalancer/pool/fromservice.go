package pool

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// FromService reads what decides about a Service from the object and from the labels of its namespace. Current is what
// the status lists.
func FromService(svc *corev1.Service, namespaceLabels labels.Set) Service {
	panic("in work")
}
