package pod

import (
	"fmt"
	"sync"
)

// Stage is how far a Pod has come on the node.
type Stage int

// The stages of a Pod.
const (
	// Arriving: the node has yet to decide whether it takes the Pod.
	Arriving Stage = iota
	// Active: the Pod was admitted; its containers run as its spec says.
	Active
	// Ending: no container is started any more, and those that run are stopped.
	Ending
	// Ended: nothing of the Pod runs; the API still has it.
	Ended
	// Leaving: the API no longer has the Pod, of which something may still run.
	Leaving
	// Clearing: the API no longer has the Pod and nothing runs; what is left of
	// it on the node is being removed.
	Clearing
	// Removed: the node has nothing left of the Pod.
	Removed
)

// String returns the stage's name.
func (s Stage) String() string {
	names := [...]string{"Arriving", "Active", "Ending", "Ended", "Leaving", "Clearing", "Removed"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("Stage(%d)", int(s))
	}
	return names[s]
}

// Starts tells whether containers of the Pod may be started.
func (s Stage) Starts() bool { return s == Arriving || s == Active }

// Stopped tells whether nothing of the Pod runs, and nothing will.
func (s Stage) Stopped() bool { return s == Ended || s == Clearing || s == Removed }

// InAPI tells whether the API still has the Pod.
func (s Stage) InAPI() bool { return s <= Ended }

// step is something that moves a Pod from one stage to another.
type step int

const (
	stepAdmit   step = iota // the node takes the Pod
	stepRefuse              // the node does not take the Pod, of which nothing runs
	stepFinish              // no container is to be started any more
	stepStop                // nothing runs any more
	stepRelease             // the API no longer has the Pod
	stepCleared             // the node has nothing left of it
)

// steps are the moves that there are. Any other leaves the stage as it is: a
// Pod never goes back, and what comes late is of no consequence.
var steps = map[step]map[Stage]Stage{
	stepAdmit:   {Arriving: Active},
	stepRefuse:  {Arriving: Ended},
	stepFinish:  {Arriving: Ending, Active: Ending},
	stepStop:    {Ending: Ended, Leaving: Clearing},
	stepRelease: {Arriving: Leaving, Active: Leaving, Ending: Leaving, Ended: Clearing},
	stepCleared: {Clearing: Removed},
}

// lifecycle is the stage of one Pod. The Pod's worker and those who bring news
// from the API may both move it.
type lifecycle struct {
	mu    sync.Mutex
	stage Stage
}

// now returns the stage.
func (l *lifecycle) now() Stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stage
}

// take moves the Pod on and returns the stage that it is in afterwards.
func (l *lifecycle) take(s step) Stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next, ok := steps[s][l.stage]; ok {
		l.stage = next
	}
	return l.stage
}
