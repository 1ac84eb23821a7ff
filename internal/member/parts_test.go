package member

import (
	"testing"
	"time"

	"minato/internal/supervise"
)

func TestPartState(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	began := at(1)
	s := shown{name: "kube-proxy", main: "services", others: []string{"service-checks"}}
	run := func(name string, since, restarts int) supervise.State {
		return supervise.State{Name: name, Phase: supervise.Running, Since: at(since), Restarts: restarts}
	}
	bad := run("services", 4, 2)
	bad.Phase, bad.Error = supervise.Failed, "no map"
	badCheck := run("service-checks", 4, 1)
	badCheck.Phase, badCheck.Error = supervise.Failed, "port in use"
	done := run("service-checks", 9, 0)
	done.Phase = supervise.Done
	for _, test := range []struct {
		name          string
		states        []supervise.State
		ready, failed bool
		restarts      int
		since         int
		message       string
	}{
		{"all run", []supervise.State{run("services", 2, 1), run("dns", 8, 5), run("service-checks", 3, 2)}, true, false, 3, 3, ""},
		{"one that belongs to it fails", []supervise.State{run("services", 2, 0), badCheck}, false, false, 1, 4, "service-checks: port in use"},
		{"it fails itself", []supervise.State{bad, run("service-checks", 3, 0)}, false, true, 2, 4, "services: no map"},
		{"one is done", []supervise.State{run("services", 2, 0), done}, true, false, 0, 2, ""},
		{"nothing was started", nil, false, false, 0, 1, "it has not been started yet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := partState(s, test.states, began)
			if is.Ready != test.ready || is.Failed != test.failed || is.Restarts != test.restarts || !is.Since.Equal(at(test.since)) || is.Message != test.message || !is.First.Equal(began) {
				t.Errorf("state %+v", is)
			}
		})
	}
	s.ready = func() string { return "no names yet" }
	if is := partState(s, []supervise.State{run("services", 2, 0)}, began); is.Ready || is.Message != "no names yet" {
		t.Errorf("a part that runs without what it needs: %+v", is)
	}
}
