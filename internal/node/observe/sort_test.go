package observe

import (
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestSortAfterTheClockWasSetBack has later runs that look older.
func TestSortAfterTheClockWasSetBack(t *testing.T) {
	now := time.Now()
	p := &Pod{
		Sandboxes: []Sandbox{{ID: "old", Attempt: 0, CreatedAt: now}, {ID: "new", Attempt: 1, CreatedAt: now.Add(-24 * time.Hour)}},
		Containers: []Container{
			{ID: "first", Name: "c", Attempt: 3, CreatedAt: now},
			{ID: "half-made", Name: "c", Attempt: 4, CreatedAt: now.Add(-25 * time.Hour)},
			{ID: "last", Name: "c", Attempt: 4, CreatedAt: now.Add(-24 * time.Hour)},
			{ID: "runs", Name: "e", Attempt: 2, CreatedAt: now.Add(-24 * time.Hour), State: runtimeapi.ContainerState_CONTAINER_RUNNING},
			{ID: "never ran", Name: "e", Attempt: 2, CreatedAt: now, State: runtimeapi.ContainerState_CONTAINER_CREATED},
			{ID: "other", Name: "d", Attempt: 0, CreatedAt: now},
		},
	}
	p.sort()
	if p.Sandboxes[0].ID != "new" {
		t.Errorf("the sandbox in use is %s", p.Sandboxes[0].ID)
	}
	if got := p.Latest("c"); got == nil || got.ID != "last" {
		t.Errorf("the latest run is %+v", got)
	}
	if got := p.Latest("e"); got == nil || got.ID != "runs" {
		t.Errorf("the latest run of the one that was made twice is %+v", got)
	}
	if got := p.Latest("d"); got == nil || got.ID != "other" {
		t.Errorf("the latest run of the other is %+v", got)
	}
}
