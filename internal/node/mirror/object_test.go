package mirror

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func second(s int) time.Time { return time.Unix(1000+int64(s), 0).UTC() }

func container(id string, restarts int32, running bool) *v1.ContainerStatus {
	c := &v1.ContainerStatus{Name: "etcd", ContainerID: id, RestartCount: restarts}
	if running {
		c.State.Running = &v1.ContainerStateRunning{StartedAt: at(second(1))}
	}
	return c
}

func TestRestartsAreCountedOn(t *testing.T) {
	for _, test := range []struct {
		name     string
		last     *v1.ContainerStatus
		state    State
		restarts int32
		ended    string // the reason of the last termination
		code     int32
		waiting  bool
	}{
		{"the first look", nil, State{Ready: true, Restarts: 2}, 2, "", 0, false},
		{"nothing has changed", container("minato://p1-1", 4, true), State{Ready: true, Restarts: 1}, 4, "", 0, false},
		{"started again after a failure", container("minato://p1-1", 4, true), State{Ready: true, Restarts: 3, Error: "port in use"}, 6, "Error", 1, false},
		{"started again as asked", container("minato://p1-1", 4, true), State{Ready: true, Restarts: 2}, 5, "Completed", 0, false},
		{"waits after a failure", container("minato://p1-1", 4, true), State{Failed: true, Restarts: 1, Error: "port in use"}, 4, "Error", 1, true},
		{"its node was made anew", container("minato://p1-3", 4, true), State{Ready: true}, 5, "Completed", 0, false},
		{"another process", container("minato://p0-7", 4, true), State{Ready: true, Restarts: 1}, 6, "Unknown", 255, false},
		{"something else's container", container("docker://x", 4, true), State{Ready: true}, 5, "Unknown", 255, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.state.First, test.state.Since = second(0), second(5)
			c := containerOf(facts{part: Part{Name: "etcd"}, state: test.state, process: "p1", last: test.last})
			if c.RestartCount != test.restarts || c.Ready != (test.state.Ready && !test.state.Failed) || (c.State.Waiting != nil) != test.waiting {
				t.Errorf("container %+v", c)
			}
			switch e := c.LastTerminationState.Terminated; {
			case test.ended == "" && e != nil, test.ended != "" && (e == nil || e.Reason != test.ended || e.ExitCode != test.code || e.ContainerID != test.last.ContainerID):
				t.Errorf("last termination %+v, want %q", e, test.ended)
			}
		})
	}
}

// What nothing has changed about must not be written again.
func TestStatusIsStable(t *testing.T) {
	f := facts{
		part: Part{Name: "etcd"}, state: State{First: second(0), Since: second(1), Message: "no quorum"}, process: "p1",
		hostIPs: []string{"172.30.0.11", "fd00::b"}, now: second(2),
	}
	one := statusOf(f)
	f.now, f.old, f.last = second(60), one, &one.ContainerStatuses[0]
	two := statusOf(f)
	if a, b := one.String(), two.String(); a != b {
		t.Errorf("two statuses:\n%s\n%s", a, b)
	}
	if one.PodIP != "172.30.0.11" || len(one.HostIPs) != 2 || one.Phase != v1.PodRunning {
		t.Errorf("status %+v", one)
	}
	for _, c := range one.Conditions {
		bad := c.Type == v1.PodReady || c.Type == v1.ContainersReady
		if bad != (c.Status == v1.ConditionFalse) || bad && c.Message != "containers with unready status: [etcd]: no quorum" {
			t.Errorf("condition %+v", c)
		}
	}
	f.state.Ready, f.state.Message = true, ""
	three := statusOf(f)
	for _, c := range three.Conditions {
		want := second(2)
		if c.Type == v1.PodReady || c.Type == v1.ContainersReady {
			want = second(60)
		}
		if c.Status != v1.ConditionTrue || !c.LastTransitionTime.Time.Equal(want) {
			t.Errorf("condition %+v", c)
		}
	}
}

func TestParseRun(t *testing.T) {
	for id, want := range map[string]run{"minato://ab-12-34-5": {"ab-12-34", 5}, run{"x", 0}.String(): {"x", 0}} {
		if r, ok := parseRun(id); !ok || r != want {
			t.Errorf("%s is read as %v, %v", id, r, ok)
		}
	}
	for _, id := range []string{"", "minato://", "minato://x", "docker://x-1", "minato://x-y"} {
		if _, ok := parseRun(id); ok {
			t.Errorf("%q is the ID of a run", id)
		}
	}
}
