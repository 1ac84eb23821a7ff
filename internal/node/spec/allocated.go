package spec

import (
	"encoding/json"

	v1 "k8s.io/api/core/v1"
)

// Resources are the requests and limits that a container was created with, from
// its annotations; those of the Pod's spec may have been changed since. A
// container without that annotation has those of its spec.
func Resources(c *v1.Container, annotations map[string]string) *v1.ResourceRequirements {
	var r v1.ResourceRequirements
	if err := json.Unmarshal([]byte(annotations[annotationResources]), &r); err != nil {
		return c.Resources.DeepCopy()
	}
	return &r
}

// Resized tells whether the spec asks for other CPU or memory than the container
// was created with.
func Resized(c *v1.Container, annotations map[string]string) bool {
	has := Resources(c, annotations)
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
		if request.Cmp(has.Requests[name]) != 0 || limit.Cmp(has.Limits[name]) != 0 {
			return true
		}
	}
	return false
}
