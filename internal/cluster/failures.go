package cluster

import (
	"errors"
	"slices"
	"sync"
	"time"

	"minato/internal/controlplane"
	"minato/internal/supervise"
)

// failures are the states of the control plane's parts for `minato status`. The
// control plane starts its parts again itself, and reports nothing but their
// failures.
type failures struct {
	mu   sync.Mutex
	list []supervise.State
}

// state is one of the parts, which began with the server.
func (f *failures) state(part string, began time.Time) supervise.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.list {
		if s.Name == part {
			return s
		}
	}
	return supervise.State{Name: part, Phase: supervise.Running, Since: began}
}

// failed notes that a part has failed and is started again.
func (f *failures) failed(part string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.list, func(s supervise.State) bool { return s.Name == part })
	if i < 0 {
		i = len(f.list)
		f.list = append(f.list, supervise.State{Name: part, Phase: supervise.Running})
	}
	f.list[i].Since, f.list[i].Error = time.Now(), err.Error()
	if errors.Is(err, controlplane.ErrRestarted) {
		f.list[i].Error = ""
	}
	f.list[i].Restarts++
}

func (f *failures) states() []supervise.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}
