package spec

import (
	"fmt"
	"strconv"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper"
)

// HugePageResource is the name of the resource that huge pages of a size in bytes are,
// such as hugepages-2Mi.
func HugePageResource(size int64) v1.ResourceName {
	return v1.ResourceName(v1.ResourceHugePagesPrefix + resource.NewQuantity(size, resource.BinarySI).String())
}

// hugePageName is what cgroups call huge pages of a size in bytes, such as 2MB.
func hugePageName(size int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; i < len(units)-1 && size >= 1024 && size%1024 == 0; i++ {
		size /= 1024
	}
	return strconv.FormatInt(size, 10) + units[i]
}

// hugePageLimits are what a container may have of each size: nothing of what it does
// not ask for, or the Pod as a whole, as with kubelets.
func hugePageLimits(pod *v1.Pod, c *v1.Container, sizes []int64) []*runtimeapi.HugepageLimit {
	var out []*runtimeapi.HugepageLimit
	for _, size := range sizes {
		limit, own := c.Resources.Limits[HugePageResource(size)]
		if !own && pod.Spec.Resources != nil {
			limit = pod.Spec.Resources.Limits[HugePageResource(size)]
		}
		out = append(out, &runtimeapi.HugepageLimit{PageSize: hugePageName(size), Limit: uint64(max(0, limit.Value()))})
	}
	return out
}

// podHugePages are what all containers of a Pod may have of each size together, and what
// its RuntimeClass adds for the sandbox: as kubelets limit the cgroups of Pods, by their
// requests, which huge pages have the same as limits.
func podHugePages(pod *v1.Pod, sizes []int64) (containers, overhead []*runtimeapi.HugepageLimit) {
	if len(sizes) == 0 {
		return nil, nil
	}
	requests := podresource.PodRequests(pod, podresource.PodResourcesOptions{ExcludeOverhead: true})
	for _, size := range sizes {
		q := requests[HugePageResource(size)]
		containers = append(containers, &runtimeapi.HugepageLimit{PageSize: hugePageName(size), Limit: uint64(max(0, q.Value()))})
		if q, ok := pod.Spec.Overhead[HugePageResource(size)]; ok {
			overhead = append(overhead, &runtimeapi.HugepageLimit{PageSize: hugePageName(size), Limit: uint64(max(0, q.Value()))})
		}
	}
	return containers, overhead
}

// HugePageVolume is the size of the pages, in bytes, of a volume with that medium. The
// medium HugePages takes the one size that the Pod's containers ask for.
func HugePageVolume(pod *v1.Pod, medium v1.StorageMedium) (int64, error) {
	asked := map[v1.ResourceName]bool{}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for name := range list[i].Resources.Requests {
				if helper.IsHugePageResourceName(name) {
					asked[name] = true
				}
			}
		}
	}
	if r := pod.Spec.Resources; r != nil {
		for name := range r.Requests {
			if helper.IsHugePageResourceName(name) {
				asked[name] = true
			}
		}
	}
	var name v1.ResourceName
	switch {
	case medium != v1.StorageMediumHugePages:
		size, err := helper.HugePageSizeFromMedium(medium)
		if err != nil {
			return 0, err
		}
		if name = helper.HugePageResourceName(size); !asked[name] {
			return 0, fmt.Errorf("medium %s: no container of the pod requests %s", medium, name)
		}
	case len(asked) == 0:
		return 0, fmt.Errorf("medium HugePages: no container of the pod requests huge pages; give one resources.limits of hugepages-2Mi, or of another size")
	case len(asked) > 1:
		return 0, fmt.Errorf("medium HugePages: the pod's containers request pages of %d sizes; name one, as in HugePages-2Mi", len(asked))
	default:
		for name = range asked {
		}
	}
	size, err := helper.HugePageSizeFromResourceName(name)
	if err != nil {
		return 0, err
	}
	return size.Value(), nil
}
