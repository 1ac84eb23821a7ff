package evict

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const mi = 1 << 20

func TestThresholds(t *testing.T) {
	all, err := Settings{
		Hard:            map[string]string{"pid.available": "10%", "memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "100%"},
		Soft:            map[string]string{"memory.available": "200Mi"},
		SoftGracePeriod: map[string]string{"memory.available": "90s", "pid.available": "1m"},
		MinimumReclaim:  map[string]string{"memory.available": "50Mi", "nodefs.available": "5%", "pid.available": "0Mi"},
	}.Thresholds()
	want := []Threshold{
		{Signal: MemoryAvailable, Least: Amount{Quantity: 100 * mi}, Reclaim: Amount{Quantity: 50 * mi}},
		{Signal: MemoryAvailable, Least: Amount{Quantity: 200 * mi}, Reclaim: Amount{Quantity: 50 * mi}, Soft: true, Grace: 90 * time.Second},
		{Signal: PIDAvailable, Least: Amount{Share: 0.1}},
	}
	if err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("thresholds = %+v, %v, want %+v", all, err, want)
	}
	if n := Hard(all, PIDAvailable, 1000); n != 100 {
		t.Errorf("a tenth of 1000 is %d", n)
	}
	for want, s := range map[string]Settings{
		"evictionHard[cpu.available]: there is no such signal":                  {Hard: map[string]string{"cpu.available": "1"}},
		"evictionHard[containerfs.available]: there is no such signal":          {Hard: map[string]string{"containerfs.available": "1"}},
		`evictionHard[memory.available]: "-1" is neither`:                       {Hard: map[string]string{"memory.available": "-1"}},
		`evictionHard[memory.available]: "101%" is no percentage`:               {Hard: map[string]string{"memory.available": "101%"}},
		`evictionHard[memory.available]: "NaN%" is no percentage`:               {Hard: map[string]string{"memory.available": "NaN%"}},
		"evictionSoft[memory.available]: a soft threshold needs a grace period": {Soft: map[string]string{"memory.available": "1Gi"}},
		`evictionSoftGracePeriod[memory.available]: "-1s" is no duration`:       {SoftGracePeriod: map[string]string{"memory.available": "-1s"}},
		`evictionHard[pid.available]: "0" is neither`:                           {Hard: map[string]string{"pid.available": "0"}},
		`evictionMinimumReclaim[nodefs.available]: "-1" is neither`:             {MinimumReclaim: map[string]string{"nodefs.available": "-1"}},
		`evictionMinimumReclaim[nodefs.available]: "x" is neither`:              {MinimumReclaim: map[string]string{"nodefs.available": "x"}},
	} {
		if _, err := s.Thresholds(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// A threshold is acted on once its grace period is over, until it and its minimum
// reclaim are satisfied; its condition stays for the transition period.
func TestLook(t *testing.T) {
	all, err := Settings{
		Hard:            map[string]string{"memory.available": "100", "nodefs.available": "10%"},
		Soft:            map[string]string{"memory.available": "200"},
		SoftGracePeriod: map[string]string{"memory.available": "20s"},
		MinimumReclaim:  map[string]string{"nodefs.available": "50"},
	}.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	var state State
	for i, step := range []struct {
		at           int // seconds
		memory, disk int64
		want         string
	}{
		{0, 500, 500, "[] []"},
		{10, 150, 500, "[MemoryPressure] []"}, // the grace period begins
		{20, 150, 500, "[MemoryPressure] []"},
		{30, 150, 500, "[MemoryPressure] [memory.available<200]"},
		{40, 250, 500, "[MemoryPressure] []"},
		{45, 150, 500, "[MemoryPressure] []"}, // it begins anew
		{50, 99, 500, "[MemoryPressure] [memory.available<100]"},
		{60, 500, 99, "[DiskPressure MemoryPressure] [nodefs.available<100]"},
		{70, 500, 149, "[DiskPressure MemoryPressure] [nodefs.available<100]"}, // not 50 more yet
		{80, 500, 150, "[DiskPressure MemoryPressure] []"},
		{90, 500, 120, "[DiskPressure MemoryPressure] []"}, // satisfied, so no longer short of it
		{110, 500, 500, "[DiskPressure] []"},
		{130, 500, 500, "[] []"},
		{140, 99, 99, "[DiskPressure MemoryPressure] [memory.available<100 nodefs.available<100]"},
	} {
		seen := Observations{MemoryAvailable: {step.memory, 1000}, NodeFsAvailable: {step.disk, 1000}}
		var found Finding
		state, found = Look(all, time.Minute, state, seen, time.Unix(int64(step.at), 0))
		var starved []string
		for _, c := range found.Starved {
			starved = append(starved, fmt.Sprintf("%s<%d", c.Threshold.Signal, c.Least))
		}
		if got := fmt.Sprint(found.Conditions, starved); got != step.want {
			t.Errorf("step %d at %d s: %s, want %s", i, step.at, got, step.want)
		}
	}
	if _, found := Look(all, 0, State{}, Observations{}, time.Unix(0, 0)); len(found.Conditions)+len(found.Starved) > 0 {
		t.Errorf("what is not known crosses a threshold: %+v", found)
	}
	if Enough(all, Observations{NodeFsAvailable: {149, 1000}}) || !Enough(all, Observations{NodeFsAvailable: {150, 1000}, MemoryAvailable: {200, 1000}}) {
		t.Error("enough is a threshold and its minimum reclaim")
	}
}

func usage(name string, priority int32, request string, used int64) Usage {
	pod := &v1.Pod{Spec: v1.PodSpec{Priority: &priority, Containers: []v1.Container{{Name: "app"}}}}
	pod.Namespace, pod.Name = "default", name
	if request != "" {
		q := resource.MustParse(request)
		pod.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceMemory: q, v1.ResourceEphemeralStorage: q}
	}
	return Usage{
		Pod: pod, Memory: used, Processes: used,
		Containers: map[string]Container{"app": {Memory: used, Layer: Disk{used / 2, 1}, Logs: Disk{used / 4, 1}}}, Local: Disk{used / 4, used},
	}
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal Signal
		apart  bool
		pods   []Usage
		want   string
	}{
		{"over its request", MemoryAvailable, false, []Usage{usage("within", 0, "500Mi", 400*mi), usage("over", 0, "100Mi", 101*mi)}, "over within"},
		{"over goes before lower", MemoryAvailable, false, []Usage{usage("within", -5, "500Mi", 400*mi), usage("over", 9, "100Mi", 101*mi)}, "over within"},
		{"lower priority", MemoryAvailable, false, []Usage{usage("high", 10, "", 400*mi), usage("low", 1, "", 10*mi)}, "low high"},
		{"most beyond its request", MemoryAvailable, false, []Usage{usage("a", 0, "300Mi", 400*mi), usage("b", 0, "", 200*mi)}, "b a"},
		{"nobody is over", MemoryAvailable, false, []Usage{usage("b", 0, "300Mi", 200*mi), usage("a", 0, "300Mi", 290*mi)}, "a b"},
		{"equal ones, by name", MemoryAvailable, false, []Usage{usage("b", 0, "", mi), usage("a", 0, "", mi)}, "a b"},
		{"the disk as the memory", NodeFsAvailable, false, []Usage{usage("within", -5, "500Mi", 400*mi), usage("over", 9, "100Mi", 101*mi)}, "over within"},
		{"without the layers", NodeFsAvailable, true, []Usage{usage("a", 0, "", 100*mi), {Pod: usage("b", 0, "", 0).Pod, Containers: map[string]Container{"app": {Layer: Disk{Bytes: 900 * mi}}}}}, "a b"},
		{"the layers", ImageFsAvailable, true, []Usage{usage("a", 0, "", 100*mi), {Pod: usage("b", 0, "", 0).Pod, Containers: map[string]Container{"app": {Layer: Disk{Bytes: 900 * mi}}}}}, "b a"},
		{"files", NodeFsInodesFree, false, []Usage{usage("few", 0, "", 10), usage("many", 0, "", 1000)}, "many few"},
		{"processes: priority, then how many", PIDAvailable, false, []Usage{usage("important", 5, "", 900), usage("few", 0, "", 10), usage("many", 0, "1Ki", 90)}, "many few important"},
	} {
		slices.Reverse(c.pods) // the order that they are given in does not matter
		var got []string
		for _, r := range Rank(c.signal, c.apart, c.pods) {
			got = append(got, r.Pod.Name)
			if r.Reason == "" {
				t.Errorf("%s: %s has its place without a reason", c.name, r.Pod.Name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	without := usage("none", 0, "", 100)
	without.Pod.Spec.Priority = nil
	if got := Rank(MemoryAvailable, false, []Usage{usage("negative", -1, "", 1), without}); got[0].Pod.Name != "negative" || got[1].Reason != "more than it asked for: uses 100 of memory, asked for 0, priority 0" {
		t.Errorf("a Pod without a priority: %s, %s", got[0].Pod.Name, got[1].Reason)
	}
}

// The messages are kubelet's, letter by letter.
func TestMessage(t *testing.T) {
	u := usage("a", 0, "100Mi", 300*mi)
	u.Pod.Spec.InitContainers = []v1.Container{{Name: "setup"}}
	u.Containers["setup"] = Container{Memory: 4096}
	crossed := func(s Signal, least, available int64) Crossed {
		return Crossed{Threshold: Threshold{Signal: s}, Least: least, Available: available}
	}
	whole := usage("whole", 0, "100Mi", 50*mi)
	whole.Pod.Spec.Resources = &v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceMemory: resource.MustParse("20Mi")}}
	for _, c := range []struct {
		crossed Crossed
		usage   Usage
		want    string
		who     string
	}{
		{crossed(MemoryAvailable, 100*mi, 50*mi-4096), u, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51196Ki. " +
			"Container app was using 300Mi, request is 100Mi, has larger consumption of memory. Container setup was using 4Ki, request is 0, has larger consumption of memory. ", "app,setup"},
		{crossed(ImageFsAvailable, 512*mi, 0), usage("b", 0, "", 400), "The node was low on resource: ephemeral-storage. Threshold quantity: 512Mi, available: 0. " +
			"Container app was using 300, request is 0, has larger consumption of ephemeral-storage. ", "app"},
		{crossed(PIDAvailable, 30, 12), u, "The node was low on resource: pids. Threshold quantity: 30, available: 12. ", ""},
		{crossed(NodeFsInodesFree, 5000, 12), u, "The node was low on resource: inodes. Threshold quantity: 5k, available: 12. ", ""},
		{crossed(MemoryAvailable, 100*mi, 0), whole, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0. " +
			"Pod whole was using 50Mi, request is 20Mi, has larger consumption of memory. ", ""},
	} {
		got, annotations := Message(c.crossed, &c.usage)
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if annotations["offending_containers"] != c.who || annotations["starved_resource"] != string(c.crossed.Threshold.Signal.Resource()) {
			t.Errorf("annotations = %v", annotations)
		}
	}
}
