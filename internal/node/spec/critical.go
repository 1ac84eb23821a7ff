package spec

import v1 "k8s.io/api/core/v1"

// criticalPriority is where the priority of system-cluster-critical begins
// (SystemCriticalPriority of pkg/apis/scheduling).
const criticalPriority = 2_000_000_000

// Critical tells whether the cluster cannot do without the Pod: it is taken also
// by a node under pressure, and never evicted.
func Critical(pod *v1.Pod) bool {
	return pod.Spec.Priority != nil && *pod.Spec.Priority >= criticalPriority
}
