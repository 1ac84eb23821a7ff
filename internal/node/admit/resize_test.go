package admit

import (
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestCheckResize(t *testing.T) {
	whole := func(cpu string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Spec.Resources = &v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}}
		}
	}
	for _, c := range []struct {
		name            string
		pod             *v1.Pod
		node            *v1.Node
		others          []*v1.Pod
		reason, message string
	}{
		{name: "more", pod: testPod(asks(v1.ResourceCPU, "1500m")), others: []*v1.Pod{testPod(asks(v1.ResourceCPU, "500m"))}},
		{name: "less", pod: testPod(asks(v1.ResourceCPU, "10m"))},
		{name: "more than is left", pod: testPod(asks(v1.ResourceCPU, "1501m")), others: []*v1.Pod{testPod(asks(v1.ResourceCPU, "500m"))},
			reason: "Deferred", message: "Node didn't have enough resource: cpu, requested: 1501, used: 500, capacity: 2000"},
		{name: "more than there is", pod: testPod(asks(v1.ResourceMemory, "2Gi")),
			reason: "Deferred", message: "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824"},
		{name: "pressure", pod: testPod(asks(v1.ResourceCPU, "1")), node: testNode(condition(v1.NodeDiskPressure)),
			reason: "Deferred", message: "The node had condition: [DiskPressure]. "},
		{name: "the pod as a whole", pod: testPod(asks(v1.ResourceCPU, "500m"), whole("1"))},
		{name: "too much for the pod as a whole", pod: testPod(asks(v1.ResourceCPU, "500m"), whole("3")),
			reason: "Deferred", message: "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000"},
	} {
		node := c.node
		if node == nil {
			node = testNode()
		}
		var want *Refusal
		if c.reason != "" {
			want = &Refusal{c.reason, c.message}
		}
		got := CheckResize(Input{Pod: c.pod, Node: node, Others: c.others})
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}

func TestOrderOfResizes(t *testing.T) {
	high := int32(1000)
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	named := func(name string) func(*v1.Pod) { return func(p *v1.Pod) { p.Name = name } }
	grown := func(name string, more ...func(*v1.Pod)) Resize {
		return Resize{Pod: testPod(append([]func(*v1.Pod){asks(v1.ResourceCPU, "2"), named(name)}, more...)...), Granted: testPod(asks(v1.ResourceCPU, "1"))}
	}
	since := func(r Resize, second int) Resize { r.Since = at(second); return r }
	limited := func(p *v1.Pod) {
		list := v1.ResourceList{v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("1Gi")}
		p.Spec.Containers[0].Resources = v1.ResourceRequirements{Requests: list, Limits: list}
	}
	want := []Resize{
		{Pod: testPod(asks(v1.ResourceCPU, "1"), named("smaller")), Granted: testPod(asks(v1.ResourceCPU, "2"))},
		since(grown("priority", func(p *v1.Pod) { p.Spec.Priority = &high }), 9),
		since(grown("guaranteed", limited), 8),
		since(grown("longest"), 1),
		since(grown("longer"), 2),
		grown("a"),
		grown("b"),
	}
	for seed := range len(want) {
		got := append(slices.Clone(want[seed:]), want[:seed]...)
		slices.Reverse(got)
		slices.SortFunc(got, CompareResizes)
		for i := range want {
			if got[i].Pod.Name != want[i].Pod.Name {
				t.Errorf("rank %d: %s, want %s", i, got[i].Pod.Name, want[i].Pod.Name)
			}
		}
	}
}

// A node that takes drivers leaves claims to them, and devices that Pods were given count
// though the Node does not tell of them.
func TestDevicesOfPlugins(t *testing.T) {
	claiming := testPod(func(p *v1.Pod) { p.Spec.ResourceClaims = []v1.PodResourceClaim{{Name: "gpu"}} })
	if r := Check(Input{Pod: claiming, Node: testNode(), Options: Options{Claims: true}}); r != nil {
		t.Errorf("claims are refused: %v", r)
	}
	const gpu = "example.com/gpu"
	node := testNode()
	node.Status.Allocatable[gpu] = resource.MustParse("0")
	pod := testPod(func(p *v1.Pod) {
		list := v1.ResourceList{gpu: resource.MustParse("1")}
		p.Spec.Containers[0].Resources = v1.ResourceRequirements{Limits: list, Requests: list}
	})
	if r := Check(Input{Pod: pod, Node: node}); r == nil || r.Reason != "OutOf"+gpu {
		t.Errorf("a Pod for which there is no device: %v", r)
	}
	if r := Check(Input{Pod: pod, Node: node, Allocated: v1.ResourceList{gpu: resource.MustParse("1")}}); r != nil {
		t.Errorf("a Pod that has its device: %v", r)
	}
}

// What the scheduler has found by way of a ResourceClaim is not asked of the node, under
// whichever name.
func TestClaimedExtendedResources(t *testing.T) {
	for _, name := range []v1.ResourceName{"deviceclass.resource.kubernetes.io/gpu", "example.com/gpu"} {
		node := testNode()
		if name == "example.com/gpu" {
			node.Status.Allocatable[name] = resource.MustParse("0") // a device plugin had some once
		}
		pod := testPod(func(p *v1.Pod) {
			list := v1.ResourceList{name: resource.MustParse("1")}
			p.Spec.Containers[0].Resources = v1.ResourceRequirements{Limits: list, Requests: list}
		})
		if r := Check(Input{Pod: pod, Node: node}); r == nil || r.Reason != "OutOf"+string(name) {
			t.Errorf("%s that nobody has claimed: %v", name, r)
		}
		pod.Status.ExtendedResourceClaimStatus = &v1.PodExtendedResourceClaimStatus{ResourceClaimName: "c", RequestMappings: []v1.ContainerExtendedResourceRequest{
			{ContainerName: pod.Spec.Containers[0].Name, ResourceName: string(name), RequestName: "r"},
		}}
		if r := Check(Input{Pod: pod, Node: node}); r != nil {
			t.Errorf("%s that was claimed: %v", name, r)
		}
		if len(pod.Spec.Containers[0].Resources.Requests) != 1 {
			t.Errorf("%s: the Pod itself was changed", name)
		}
	}
}
