package cluster

import (
	"errors"
	"testing"

	"minato/internal/supervise"
)

func TestFailuresOfTheControlPlane(t *testing.T) {
	var f failures
	if got := f.states(); len(got) != 0 {
		t.Errorf("nothing has failed: %+v", got)
	}
	f.failed("etcd", errors.New("no space left"))
	f.failed("controllers", errors.New("lost"))
	f.failed("etcd", errors.New("no space left again"))
	got := f.states()
	if len(got) != 2 || got[0].Name != "etcd" || got[0].Restarts != 2 || got[0].Error != "no space left again" || got[0].Phase != supervise.Running ||
		got[1].Name != "controllers" || got[1].Restarts != 1 || got[0].Since.IsZero() {
		t.Errorf("%+v", got)
	}
}
