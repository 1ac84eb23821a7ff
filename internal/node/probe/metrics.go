package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
)

// Metrics counts the attempts of all probes, under the kubelet's names
// (kubelet/prober) and with its labels. It implements prometheus.Collector.
type Metrics struct {
	results   *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

// NewMetrics has counted nothing yet.
func NewMetrics() *Metrics {
	return &Metrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prober_probe_total", Help: "Cumulative number of a liveness, readiness or startup probe for a container by result.",
		}, []string{"probe_type", "result", "container", "pod", "namespace", "pod_uid"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "prober_probe_duration_seconds", Help: "Duration in seconds for a probe response.",
		}, []string{"probe_type", "container", "pod", "namespace"}),
	}
}

// Describe implements prometheus.Collector.
func (c *Metrics) Describe(ch chan<- *prometheus.Desc) {
	c.results.Describe(ch)
	c.durations.Describe(ch)
}

// Collect implements prometheus.Collector.
func (c *Metrics) Collect(ch chan<- prometheus.Metric) {
	c.results.Collect(ch)
	c.durations.Collect(ch)
}

// observe counts one attempt. As in a kubelet, only answers have a duration.
func (c *Metrics) observe(k kind, t *Target, passed bool, took time.Duration) {
	result := "failed"
	if passed {
		result = "successful"
		c.durations.WithLabelValues(string(k), t.Container.Name, t.Pod.Name, t.Pod.Namespace).Observe(took.Seconds())
	}
	c.results.WithLabelValues(string(k), result, t.Container.Name, t.Pod.Name, t.Pod.Namespace, string(t.Pod.UID)).Inc()
}

// forget drops the counts of a Pod that has ended.
func (c *Metrics) forget(pod *v1.Pod) {
	c.results.DeletePartialMatch(prometheus.Labels{"pod_uid": string(pod.UID)})
	c.durations.DeletePartialMatch(prometheus.Labels{"namespace": pod.Namespace, "pod": pod.Name})
}
