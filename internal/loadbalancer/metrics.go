package loadbalancer

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"minato/internal/loadbalancer/pool"
)

// counters count a Controller's work.
type counters struct {
	updates, writes, errors, objects atomic.Uint64
}

// Describe implements prometheus.Collector. It describes nothing, so that the registry checks the metrics when they are
// collected.
func (c *Controller) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. The names are MetalLB's where they mean the same.
func (c *Controller) Collect(ch chan<- prometheus.Metric) {
	counter := func(name, help string, v uint64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, float64(v))
	}
	counter("metallb_k8s_client_updates_total", "Changes of Services that were processed.", c.metrics.updates.Load())
	counter("metallb_k8s_client_update_errors_total", "Writes of Services that failed.", c.metrics.errors.Load())
	counter("minato_loadbalancer_service_writes_total", "Services that were written.", c.metrics.writes.Load())
	counter("minato_loadbalancer_object_writes_total", "Objects of the configuration whose status was written.", c.metrics.objects.Load())
	current, known := c.cfg.Settings.Current()
	gauge(ch, "metallb_k8s_client_config_loaded_bool", "Whether the configuration was read.", boolValue(known))
	gauge(ch, "metallb_k8s_client_config_stale_bool", "Whether a part of the configuration can't be honoured.", boolValue(len(current.Problems) > 0))
	for name, u := range c.usage() {
		collectPool(ch, name, u)
	}
}

func collectPool(ch chan<- prometheus.Metric, name string, u pool.PoolUsage) {
	of := func(metric, help string, v int64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("metallb_allocator_"+metric, help, []string{"pool"}, nil), prometheus.GaugeValue, float64(v), name)
	}
	of("addresses_total", "Addresses of the pool.", saturated(u.TotalIPv4, u.TotalIPv6))
	of("ipv4_addresses_total", "IPv4 addresses of the pool.", u.TotalIPv4)
	of("ipv6_addresses_total", "IPv6 addresses of the pool.", u.TotalIPv6)
	of("addresses_in_use_total", "Addresses of the pool that Services have.", saturated(u.AssignedIPv4, u.AssignedIPv6))
	of("ipv4_addresses_in_use_total", "IPv4 addresses of the pool that Services have.", u.AssignedIPv4)
	of("ipv6_addresses_in_use_total", "IPv6 addresses of the pool that Services have.", u.AssignedIPv6)
	of("services_allocated_total", "Services with an address of the pool.", u.Services)
}

// saturated adds numbers, of which each may be the largest that there is.
func saturated(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return max(a, b)
}

func gauge(ch chan<- prometheus.Metric, name, help string, v float64) {
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, v)
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// usage is how much of each pool is used.
func (c *Controller) usage() map[string]pool.PoolUsage {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.book == nil {
		return nil
	}
	return c.book.usage // it is made anew for each decision and not changed
}
