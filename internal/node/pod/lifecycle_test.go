package pod

import (
	"math/rand/v2"
	"testing"
)

var allSteps = []step{stepAdmit, stepRefuse, stepFinish, stepStop, stepRelease, stepCleared}

func TestLifecycle(t *testing.T) {
	for _, c := range []struct {
		name string
		take []step
		want Stage
	}{
		{"new", nil, Arriving},
		{"runs", []step{stepAdmit}, Active},
		{"refused", []step{stepRefuse}, Ended},
		{"refused and deleted", []step{stepRefuse, stepRelease, stepCleared}, Removed},
		{"done", []step{stepAdmit, stepFinish, stepStop}, Ended},
		{"deleted", []step{stepAdmit, stepFinish, stepStop, stepRelease, stepCleared}, Removed},
		{"deleted before the decision", []step{stepFinish, stepAdmit}, Ending},
		{"deleted by force", []step{stepAdmit, stepRelease}, Leaving},
		{"deleted by force, finished late", []step{stepAdmit, stepRelease, stepFinish, stepAdmit}, Leaving},
		{"deleted by force and stopped", []step{stepAdmit, stepRelease, stepStop}, Clearing},
		{"deleted by force while it ends", []step{stepAdmit, stepFinish, stepRelease}, Leaving},
		{"not cleared while the API has it", []step{stepAdmit, stepFinish, stepStop, stepCleared}, Ended},
		{"not stopped while it runs", []step{stepAdmit, stepStop}, Active},
		{"not refused when it runs", []step{stepAdmit, stepRefuse}, Active},
	} {
		var l lifecycle
		for _, s := range c.take {
			l.take(s)
		}
		if l.now() != c.want {
			t.Errorf("%s: %s, want %s", c.name, l.now(), c.want)
		}
	}
}

// Whatever happens, in whatever order: no Pod goes back, starts again after its
// end, or comes back into the API; and the right steps always lead to the end.
func TestLifecycleNeverGoesBack(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		var l lifecycle
		for range 20 {
			before := l.now()
			after := l.take(allSteps[random.IntN(len(allSteps))])
			switch {
			case after < before,
				after.Starts() && !before.Starts(),
				after.InAPI() && !before.InAPI(),
				before.Stopped() && !after.Stopped():
				t.Fatalf("seed %d: %s became %s", seed, before, after)
			}
		}
		for _, s := range []step{stepRelease, stepStop, stepCleared} {
			l.take(s)
		}
		if l.now() != Removed {
			t.Fatalf("seed %d: it ends as %s", seed, l.now())
		}
	}
}
