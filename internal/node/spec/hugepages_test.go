package spec

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
