package node

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// syncs measures the work on Pods and the looks at the runtime, under the kubelet's names
// (kubelet/metrics.PodWorkerDuration, PLEGRelistDuration, PLEGRelistInterval, PLEGLastSeen). It implements pod.Measures.
type syncs struct {
	worker           *prometheus.HistogramVec
	relist, interval prometheus.Histogram
	seen             prometheus.Gauge

	mu   sync.Mutex
	last time.Time
}

func newSyncs() *syncs {
	return &syncs{
		worker: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_pod_worker_duration_seconds", Help: "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync",
		}, []string{"operation_type"}),
		relist: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubelet_pleg_relist_duration_seconds", Help: "Duration in seconds for relisting pods in PLEG.",
		}),
		// Events tell of changes; the list, once a minute, is for those that were lost.
		interval: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubelet_pleg_relist_interval_seconds", Help: "Interval in seconds between relisting in PLEG.",
			Buckets: []float64{.1, 1, 10, 30, 60, 75, 90, 120, 180, 300},
		}),
		seen: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kubelet_pleg_last_seen_seconds", Help: "Timestamp in seconds when PLEG was last seen active.",
		}),
	}
}

// Synced implements pod.Measures.
func (s *syncs) Synced(operation string, took time.Duration) {
	s.worker.WithLabelValues(operation).Observe(took.Seconds())
}

// Relisted implements pod.Measures.
func (s *syncs) Relisted(began, ended time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relist.Observe(ended.Sub(began).Seconds())
	if !s.last.IsZero() {
		s.interval.Observe(began.Sub(s.last).Seconds())
	}
	s.last = began
	s.seen.Set(float64(ended.UnixMilli()) / 1000)
}

// Describe implements prometheus.Collector.
func (s *syncs) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *syncs) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.all() {
		c.Collect(ch)
	}
}

func (s *syncs) all() []prometheus.Collector {
	return []prometheus.Collector{s.worker, s.relist, s.interval, s.seen}
}
