package spec

import (
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func hugePod(names ...v1.ResourceName) *v1.Pod {
	list := v1.ResourceList{}
	for _, n := range names {
		list[n] = resource.MustParse("4Mi")
	}
	return &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "a"}, {Name: "c", Resources: v1.ResourceRequirements{Limits: list, Requests: list}}}}}
}

// A container has no huge pages that it does not ask for.
func TestHugePageLimits(t *testing.T) {
	pod := hugePod("hugepages-2Mi")
	for i, want := range []uint64{0, 4 << 20} {
		config, err := Container(ContainerInput{Pod: pod, Container: &pod.Spec.Containers[i], HugePages: []int64{2 << 20, 1 << 30}})
		if err != nil {
			t.Fatal(err)
		}
		l := config.Linux.Resources.HugepageLimits
		if len(l) != 2 || l[0].PageSize != "2MB" || l[0].Limit != want || l[1].PageSize != "1GB" || l[1].Limit != 0 {
			t.Errorf("container %d has %v", i, l)
		}
	}
	pod.Spec.Resources = &v1.ResourceRequirements{Limits: v1.ResourceList{"hugepages-1Gi": resource.MustParse("1Gi")}}
	if config, err := Container(ContainerInput{Pod: pod, Container: &pod.Spec.Containers[0], HugePages: []int64{1 << 30}}); err != nil || config.Linux.Resources.HugepageLimits[0].Limit != 1<<30 {
		t.Errorf("of the Pod as a whole: %v, %v", config, err)
	}
	for size, want := range map[int64]string{64 << 10: "64KB", 2 << 20: "2MB", 1 << 30: "1GB", 16 << 30: "16GB", 512: "512B"} {
		if got := hugePageName(size); got != want {
			t.Errorf("%d is %s, want %s", size, got, want)
		}
	}
	if got := HugePageResource(1 << 30); got != "hugepages-1Gi" {
		t.Error(got)
	}
}

// A Pod as a whole has what its containers may have together, or what it says itself.
func TestHugePagesOfPods(t *testing.T) {
	pod := hugePod("hugepages-2Mi")
	pod.Spec.Containers = append(pod.Spec.Containers, pod.Spec.Containers[1])
	pod.Spec.Overhead = v1.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi")}
	limits := func(sizes ...int64) (out [2][]uint64) {
		t.Helper()
		config, err := Sandbox(SandboxInput{Pod: pod, HugePages: sizes})
		if err != nil {
			t.Fatal(err)
		}
		for i, list := range [][]*runtimeapi.HugepageLimit{config.Linux.Resources.HugepageLimits, config.Linux.Overhead.HugepageLimits} {
			for _, l := range list {
				out[i] = append(out[i], l.Limit)
			}
		}
		return out
	}
	if got := limits(2<<20, 1<<30); !slices.Equal(got[0], []uint64{8 << 20, 0}) || !slices.Equal(got[1], []uint64{2 << 20}) {
		t.Errorf("of two containers and overhead: %v", got)
	}
	pod.Spec.Overhead = nil
	whole := v1.ResourceList{"hugepages-2Mi": resource.MustParse("10Mi")}
	pod.Spec.Resources = &v1.ResourceRequirements{Limits: whole, Requests: whole}
	if got := limits(2<<20, 1<<30); !slices.Equal(got[0], []uint64{10 << 20, 0}) || got[1] != nil {
		t.Errorf("of the Pod as a whole: %v", got)
	}
	if got := limits(); got[0] != nil {
		t.Errorf("on a machine without: %v", got)
	}
}

// A volume has pages of the size that the Pod asks for.
func TestHugePageVolume(t *testing.T) {
	for _, c := range []struct {
		pod    *v1.Pod
		medium v1.StorageMedium
		want   int64
		err    string
	}{
		{hugePod("hugepages-2Mi"), "HugePages", 2 << 20, ""},
		{hugePod("hugepages-2Mi", "hugepages-1Gi"), "HugePages-1Gi", 1 << 30, ""},
		{hugePod("hugepages-2Mi", "hugepages-1Gi"), "HugePages", 0, "2 sizes"},
		{hugePod("cpu"), "HugePages", 0, "no container of the pod requests"},
		{hugePod("hugepages-2Mi"), "HugePages-1Gi", 0, "hugepages-1Gi"},
		{hugePod("hugepages-2Mi"), "HugePages-x", 0, "x"},
	} {
		got, err := HugePageVolume(c.pod, c.medium)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v of %v: %d, %v", c.medium, c.pod.Spec.Containers[1].Resources.Requests, got, err)
		}
	}
	whole := hugePod()
	whole.Spec.Resources = &v1.ResourceRequirements{Requests: v1.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi")}}
	if got, err := HugePageVolume(whole, "HugePages"); got != 2<<20 || err != nil {
		t.Errorf("of the Pod as a whole: %d, %v", got, err)
	}
}
