// Package gone has the kinds of old versions that even Kubernetes' packages no longer
// have: HorizontalPodAutoscaler in autoscaling/v2beta1 and v2beta2, and CronJob in
// batch/v2alpha1, with their defaults, conversions and OpenAPI definitions.
//
// A version that differs from a later one in its name alone has the later one's
// types. The package must not know how versions are served. It may import
// k8s.io/kubernetes and its staging modules.
package gone
