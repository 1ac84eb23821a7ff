package api

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"minato/internal/node/usage"
)

// resourceMetrics answers with the CPU time and memory of the node, its Pods and
// their containers, in the form that metrics servers ask for
// (kubelet/metrics/collectors). The time of each figure stands beside it.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	snapshot, err := s.usage.Read(r.Context())
	if err != nil {
		s.log.Warn("what the node's containers use could not be read", "error", err)
	}
	s.expose(w, r, resourceCollector{snapshot})
}

// expose answers with what a collector collects for this request.
func (s *Server) expose(w http.ResponseWriter, r *http.Request, collectors ...prometheus.Collector) {
	registry := prometheus.NewRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			fail(w, err)
			return
		}
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// resourceCollector has no snapshot where none could be taken.
type resourceCollector struct{ snapshot *usage.Snapshot }

// Describe implements prometheus.Collector; none described means unchecked.
func (c resourceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c resourceCollector) Collect(ch chan<- prometheus.Metric) {
	failed := 0.0
	if c.snapshot == nil {
		failed = 1
	}
	for _, name := range []string{"scrape_error", "resource_scrape_error"} {
		ch <- prometheus.MustNewConstMetric(desc(name, "1 if there was an error while getting container metrics, 0 otherwise"), prometheus.GaugeValue, failed)
	}
	if c.snapshot == nil {
		return
	}
	ofNode, ofPods, ofContainers := newResourceDescs("node"), newResourceDescs("pod", "namespace", "pod"), newResourceDescs("container", "container", "namespace", "pod")
	started := desc("container_start_time_seconds", "Start time of the container since unix epoch in seconds", "container", "namespace", "pod")
	ofNode.send(ch, c.snapshot.Node)
	for _, p := range c.snapshot.Pods {
		ofPods.send(ch, p.Usage, p.Namespace, p.Name)
		for _, container := range lastOfEachName(p.Containers) {
			ch <- prometheus.MustNewConstMetric(started, prometheus.GaugeValue, float64(container.Created.UnixNano())/float64(time.Second), container.Name, p.Namespace, p.Name)
			ofContainers.send(ch, container.Usage, container.Name, p.Namespace, p.Name)
		}
	}
}

// lastOfEachName drops a container of which a newer one of the same name runs as
// well, which happens for a moment when the agent was started again.
func lastOfEachName(containers []usage.Container) []usage.Container {
	var out []usage.Container
	for i, c := range containers {
		if i+1 == len(containers) || containers[i+1].Name != c.Name {
			out = append(out, c)
		}
	}
	return out
}

// resourceDescs are the metrics of a node, a Pod or a container.
type resourceDescs struct {
	cpu, memory, swap, max *prometheus.Desc
}

func newResourceDescs(of string, labels ...string) resourceDescs {
	return resourceDescs{
		cpu:    desc(of+"_cpu_usage_seconds_total", "Cumulative cpu time consumed by the "+of+" in core-seconds", labels...),
		memory: desc(of+"_memory_working_set_bytes", "Current working set of the "+of+" in bytes", labels...),
		swap:   desc(of+"_swap_usage_bytes", "Current swap usage of the "+of+" in bytes", labels...),
		max:    desc(of+"_swap_limit_bytes", "Current swap limit of the "+of+" in bytes", labels...),
	}
}

func (d resourceDescs) send(ch chan<- prometheus.Metric, u usage.Usage, labels ...string) {
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, v float64) {
		ch <- prometheus.NewMetricWithTimestamp(u.At, prometheus.MustNewConstMetric(desc, kind, v, labels...))
	}
	if u.CPU != nil {
		send(d.cpu, prometheus.CounterValue, u.CPU.Total.Seconds())
	}
	if u.Memory == nil {
		return
	}
	send(d.memory, prometheus.GaugeValue, float64(u.Memory.WorkingSet))
	if u.Cgroup.Path == "" {
		return // nobody has said what is swapped
	}
	send(d.swap, prometheus.GaugeValue, float64(u.Memory.Swap))
	if u.Memory.SwapLimit > 0 && len(labels) == 3 { // upstream has it for containers alone
		send(d.max, prometheus.GaugeValue, float64(u.Memory.SwapLimit))
	}
}
