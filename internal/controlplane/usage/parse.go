package usage

import (
	"fmt"
	"io"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics of /metrics/resource, which Kubernetes keeps stable.
const (
	nodeCPU          = "node_cpu_usage_seconds_total"
	nodeMemory       = "node_memory_working_set_bytes"
	containerCPU     = "container_cpu_usage_seconds_total"
	containerMemory  = "container_memory_working_set_bytes"
	containerStarted = "container_start_time_seconds"
)

// parse reads a node's answer, which came at a time of the reader's clock. What
// has no CPU time or no memory is left out.
func parse(r io.Reader, now time.Time) (sample, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return sample{}, fmt.Errorf("read the metrics: %w", err)
	}
	s := sample{at: now, pods: map[podKey]map[string]reading{}}
	if cpu, memory := families[nodeCPU].GetMetric(), families[nodeMemory].GetMetric(); len(cpu) == 1 && len(memory) == 1 {
		n := reading{at: timeOf(cpu[0], now), cpu: valueOf(cpu[0]), memory: valueOf(memory[0])}
		if n.valid() {
			s.node = &n
		}
	}
	memory, started := byContainer(families[containerMemory]), byContainer(families[containerStarted])
	for id, m := range byContainer(families[containerCPU]) {
		used, ok := memory[id]
		if !ok {
			continue
		}
		c := reading{at: timeOf(m, now), cpu: valueOf(m), memory: valueOf(used)}
		if begin, ok := started[id]; ok {
			c.started = secondsOf(valueOf(begin))
		}
		if !c.valid() {
			continue
		}
		key := podKey{id.namespace, id.pod}
		if s.pods[key] == nil {
			s.pods[key] = map[string]reading{}
		}
		s.pods[key][id.name] = c
	}
	return s, nil
}

// valid tells whether the figures can be worked with: no node has used the CPUs
// for longer than a million years.
func (r reading) valid() bool {
	within := func(f, most float64) bool { return f >= 0 && f <= most } // no NaN is
	return within(r.cpu, 1e14) && within(r.memory, math.MaxInt64/2)
}

type containerID struct{ namespace, pod, name string }

func byContainer(f *dto.MetricFamily) map[containerID]*dto.Metric {
	out := make(map[containerID]*dto.Metric, len(f.GetMetric()))
	for _, m := range f.GetMetric() {
		var id containerID
		for _, l := range m.GetLabel() {
			switch l.GetName() {
			case "namespace":
				id.namespace = l.GetValue()
			case "pod":
				id.pod = l.GetValue()
			case "container":
				id.name = l.GetValue()
			}
		}
		if id.namespace != "" && id.pod != "" && id.name != "" {
			out[id] = m
		}
	}
	return out
}

// valueOf is a metric's value, whatever its type is said to be.
func valueOf(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Untyped != nil:
		return m.Untyped.GetValue()
	}
	return math.NaN()
}

// timeOf is when a metric was looked at.
func timeOf(m *dto.Metric, now time.Time) time.Time {
	if m.TimestampMs == nil {
		return now
	}
	return time.UnixMilli(*m.TimestampMs)
}

// secondsOf is a time in seconds since 1970; zero if there is no such time.
func secondsOf(f float64) time.Time {
	if !(f > 0 && f < 1e11) {
		return time.Time{}
	}
	return time.UnixMilli(int64(f * 1000))
}
