package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// FileResources is a Claim as a cluster's file has it: cpu, memory, pids, ephemeral-storage,
// and huge pages by the names of a Node's resources, such as hugepages-2Mi.
type FileResources map[string]any

// claim is what the resources say. The error begins with the name of one of them.
func (r FileResources) claim() (Claim, error) {
	var c Claim
	for _, name := range slices.Sorted(maps.Keys(r)) {
		text := fmt.Sprint(r[name]) // a number, or text
		q, err := resource.ParseQuantity(text)
		if err != nil {
			return c, fmt.Errorf("%s: %q is no quantity such as 2 or 4Gi", name, text)
		}
		n := q.Value()
		if whole := resource.NewQuantity(n, q.Format); n < 0 || whole.Cmp(q) != 0 {
			return c, fmt.Errorf("%s: %s: give a whole number that is not negative", name, text)
		}
		page, huge := strings.CutPrefix(name, corev1.ResourceHugePagesPrefix)
		switch {
		case name == string(corev1.ResourceCPU):
			c.CPUs = n
		case name == string(corev1.ResourceMemory):
			c.Memory = Size(n)
		case name == "pids":
			c.PIDs = n
		case name == string(corev1.ResourceEphemeralStorage):
			c.EphemeralStorage = Size(n)
		case huge:
			size, err := resource.ParseQuantity(page)
			if err != nil {
				return c, fmt.Errorf("%s: give a size of pages, such as hugepages-2Mi", name)
			}
			c.HugePages = c.HugePages.with(Size(size.Value()), Size(n))
		default:
			return c, fmt.Errorf("%s: is nothing that a node can claim; these are cpu, memory, pids, ephemeral-storage and hugepages-SIZE", name)
		}
		if err := c.validate(); err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, nil
}
