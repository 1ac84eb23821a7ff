package node

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/pod"
)

// endings counts containers that have ended, under kubelet's name, by the statuses
// that are reported of their Pods: each run once, those too that were started again
// before anything was reported. What had ended when the agent began is not counted.
type endings struct {
	pod.Reporter
	total *prometheus.CounterVec

	mu   sync.Mutex
	seen map[types.UID]map[string]bool // by container ID
}

func newEndings(r pod.Reporter) *endings {
	return &endings{
		Reporter: r, seen: map[types.UID]map[string]bool{},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubelet_terminated_containers_total", Help: "Cumulative number of container terminations.",
		}, []string{"container_type", "exit_code", "reason"}),
	}
}

// Set implements pod.Reporter.
func (e *endings) Set(p *v1.Pod, status v1.PodStatus) {
	e.see(p, &status)
	e.Reporter.Set(p, status)
}

// Finish implements pod.Reporter.
func (e *endings) Finish(p *v1.Pod, status v1.PodStatus) {
	e.see(p, &status)
	e.Reporter.Finish(p, status)
}

// Forget implements pod.Reporter.
func (e *endings) Forget(uid types.UID) {
	e.mu.Lock()
	delete(e.seen, uid)
	e.mu.Unlock()
	e.Reporter.Forget(uid)
}

func (e *endings) see(p *v1.Pod, status *v1.PodStatus) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen[p.UID]
	if seen == nil {
		seen = map[string]bool{}
		e.seen[p.UID] = seen
		// The API server may know of endings from before this agent.
		ended(&p.Status, func(_ string, s *v1.ContainerStateTerminated) { seen[s.ContainerID] = true })
	}
	now := map[string]bool{}
	ended(status, func(kind string, s *v1.ContainerStateTerminated) {
		if !seen[s.ContainerID] {
			e.total.WithLabelValues(kind, strconv.Itoa(int(s.ExitCode)), s.Reason).Inc()
		}
		now[s.ContainerID] = true
	})
	e.seen[p.UID] = now // a run that is no longer told of will not be again
}

// ended calls fn for each run of a container that the status tells the end of.
func ended(status *v1.PodStatus, fn func(kind string, s *v1.ContainerStateTerminated)) {
	for _, list := range []struct {
		kind     string
		statuses []v1.ContainerStatus
	}{
		{"init_container", status.InitContainerStatuses}, {"container", status.ContainerStatuses},
		{"ephemeral_container", status.EphemeralContainerStatuses},
	} {
		for i := range list.statuses {
			for _, s := range []*v1.ContainerStateTerminated{list.statuses[i].LastTerminationState.Terminated, list.statuses[i].State.Terminated} {
				if s != nil && s.ContainerID != "" {
					fn(list.kind, s)
				}
			}
		}
	}
}
