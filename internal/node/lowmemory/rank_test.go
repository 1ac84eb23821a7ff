package lowmemory

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const mi = 1 << 20

func usage(name string, priority int32, request string, used int64) Usage {
	pod := &v1.Pod{Spec: v1.PodSpec{Priority: &priority, Containers: []v1.Container{{Name: "app"}}}}
	pod.Namespace, pod.Name = "default", name
	if request != "" {
		pod.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceMemory: resource.MustParse(request)}
	}
	return Usage{Pod: pod, Containers: map[string]int64{"app": used}}
}

func TestChoose(t *testing.T) {
	for name, tc := range map[string]struct {
		pods []Usage
		want string
	}{
		"none":                     {nil, ""},
		"over its request":         {[]Usage{usage("within", 0, "500Mi", 400*mi), usage("over", 0, "100Mi", 101*mi)}, "over"},
		"over goes before lower":   {[]Usage{usage("within", -5, "500Mi", 400*mi), usage("over", 9, "100Mi", 101*mi)}, "over"},
		"lower priority":           {[]Usage{usage("high", 10, "", 400*mi), usage("low", 1, "", 10*mi)}, "low"},
		"most beyond its request":  {[]Usage{usage("a", 0, "300Mi", 400*mi), usage("b", 0, "", 200*mi)}, "b"},
		"nobody is over":           {[]Usage{usage("a", 0, "300Mi", 290*mi), usage("b", 0, "300Mi", 200*mi)}, "a"},
		"critical ones stay":       {[]Usage{usage("critical", 2_000_000_000, "", 900*mi), usage("b", 0, "300Mi", 20*mi)}, "b"},
		"only critical ones":       {[]Usage{usage("critical", 2_000_001_000, "", 900*mi)}, ""},
		"one that uses nothing":    {[]Usage{usage("idle", 0, "", 0)}, ""},
		"equal ones, by name":      {[]Usage{usage("b", 0, "", 10*mi), usage("a", 0, "", 10*mi)}, "a"},
		"no priority is the least": {[]Usage{usage("zero", 1, "", 10*mi), {Pod: &v1.Pod{}, Containers: map[string]int64{"x": 1}}}, "none"},
	} {
		got := Choose(tc.pods)
		switch {
		case got == nil && tc.want == "", got != nil && (got.Pod.Name == tc.want || tc.want == "none" && got.Pod.Spec.Priority == nil):
		default:
			t.Errorf("%s: %+v, want %q", name, got, tc.want)
		}
	}
}

func TestMessageIsTheKubelets(t *testing.T) {
	u := usage("a", 0, "100Mi", 300*mi)
	const want = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. " +
		"Container app was using 307200Ki, request is 100Mi, has larger consumption of memory. "
	if got := Message(&u, Threshold, 50*mi); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
