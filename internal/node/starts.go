package node

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/pod"
)

// starts measures how long Pods take to run, from when the node sees them first,
// by the statuses that are reported of them. Pods that run when the agent begins
// are not counted.
type starts struct {
	pod.Reporter
	took prometheus.Histogram

	mu      sync.Mutex
	waiting map[types.UID]time.Time
}

func newStarts(r pod.Reporter) *starts {
	return &starts{
		Reporter: r, waiting: map[types.UID]time.Time{},
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubelet_pod_start_duration_seconds", Help: "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
			Buckets: []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600},
		}),
	}
}

// Set implements pod.Reporter.
func (s *starts) Set(p *v1.Pod, status v1.PodStatus) {
	s.see(p.UID, &status)
	s.Reporter.Set(p, status)
}

// Finish implements pod.Reporter.
func (s *starts) Finish(p *v1.Pod, status v1.PodStatus) {
	s.see(p.UID, &status)
	s.Reporter.Finish(p, status)
}

// Forget implements pod.Reporter.
func (s *starts) Forget(uid types.UID) {
	s.mu.Lock()
	delete(s.waiting, uid)
	s.mu.Unlock()
	s.Reporter.Forget(uid)
}

func (s *starts) see(uid types.UID, status *v1.PodStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, waits := s.waiting[uid]
	switch {
	case status.Phase == v1.PodPending && !waits:
		s.waiting[uid] = time.Now()
		if status.StartTime != nil {
			s.waiting[uid] = status.StartTime.Time
		}
	case status.Phase != v1.PodPending && waits:
		delete(s.waiting, uid)
		if status.Phase != v1.PodFailed {
			s.took.Observe(time.Since(since).Seconds())
		}
	}
}
