package api

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"minato/internal/node/cadvisor"
)

// cadvisorMetrics answers with what the node, its Pods and their containers use,
// under cAdvisor's names.
func (s *Server) cadvisorMetrics(w http.ResponseWriter, r *http.Request) {
	s.expose(w, r, cadvisor.Collectors(r.Context(), cadvisor.Config{
		Usage: s.usage, Interfaces: s.cfg.Interfaces, Netns: s.cfg.Netns, Dir: s.cfg.Dir,
		Capacity: s.cfg.Capacity, System: s.cfg.System,
	})...)
}

// probeMetrics answers with the attempts of probes.
func (s *Server) probeMetrics(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Probes == nil {
		s.expose(w, r)
		return
	}
	s.expose(w, r, s.cfg.Probes)
}

// slis answers with how the checks of /healthz have gone (KEP-3466). Since nothing
// asks a node for /healthz by itself, each check is made anew, and counted.
func (s *Server) slis(w http.ResponseWriter, r *http.Request) {
	for _, c := range s.checks() {
		s.checked.count(c.name, c.run(r.Context()) == nil)
	}
	s.expose(w, r, &s.checked)
}

// checkCounts counts the results of the checks of /healthz.
type checkCounts struct {
	mu   sync.Mutex
	last map[string]bool
	sums map[checkResult]int
}

type checkResult struct{ name, status string }

func (c *checkCounts) count(name string, passed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last, c.sums = map[string]bool{}, map[checkResult]int{}
	}
	c.last[name] = passed
	status := "success"
	if !passed {
		status = "error"
	}
	c.sums[checkResult{name, status}]++
}

// Describe implements prometheus.Collector; none described means unchecked.
func (c *checkCounts) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *checkCounts) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	result := desc("kubernetes_healthcheck", "This metric records the result of a single healthcheck.", "name", "type")
	total := desc("kubernetes_healthchecks_total", "This metric records the results of all healthcheck.", "name", "status", "type")
	for name, passed := range c.last {
		v := 0.0
		if passed {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(result, prometheus.GaugeValue, v, name, "healthz")
	}
	for r, n := range c.sums {
		ch <- prometheus.MustNewConstMetric(total, prometheus.CounterValue, float64(n), r.name, r.status, "healthz")
	}
}
