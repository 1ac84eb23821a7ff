package api

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"minato/internal/node/spec"
)

// resourceMetrics answers with the CPU time and memory of containers and Pods,
// in the form that metrics servers scrape.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	all, err := s.cfg.Runtime.ListContainerStats(r.Context(), &runtimeapi.ContainerStatsFilter{})
	if err != nil {
		fail(w, err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(resourceCollector(all))
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

type resourceCollector []*runtimeapi.ContainerStats

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector; none described means unchecked.
func (c resourceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c resourceCollector) Collect(ch chan<- prometheus.Metric) {
	containerCPU := desc("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", "container", "namespace", "pod")
	containerMemory := desc("container_memory_working_set_bytes", "Current working set of the container in bytes", "container", "namespace", "pod")
	podCPU := desc("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", "namespace", "pod")
	podMemory := desc("pod_memory_working_set_bytes", "Current working set of the pod in bytes", "namespace", "pod")
	type sum struct{ cpu, memory float64 }
	pods := map[[2]string]sum{}
	for _, st := range c {
		l := st.GetAttributes().GetLabels()
		cpu := float64(st.GetCpu().GetUsageCoreNanoSeconds().GetValue()) / float64(time.Second)
		memory := float64(st.GetMemory().GetWorkingSetBytes().GetValue())
		ch <- prometheus.MustNewConstMetric(containerCPU, prometheus.CounterValue, cpu, l[spec.LabelContainerName], l[spec.LabelPodNamespace], l[spec.LabelPodName])
		ch <- prometheus.MustNewConstMetric(containerMemory, prometheus.GaugeValue, memory, l[spec.LabelContainerName], l[spec.LabelPodNamespace], l[spec.LabelPodName])
		key := [2]string{l[spec.LabelPodNamespace], l[spec.LabelPodName]}
		pods[key] = sum{pods[key].cpu + cpu, pods[key].memory + memory}
	}
	for key, total := range pods {
		ch <- prometheus.MustNewConstMetric(podCPU, prometheus.CounterValue, total.cpu, key[0], key[1])
		ch <- prometheus.MustNewConstMetric(podMemory, prometheus.GaugeValue, total.memory, key[0], key[1])
	}
}

// summary answers with the same figures in the older form.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	all, err := s.cfg.Runtime.ListContainerStats(r.Context(), &runtimeapi.ContainerStatsFilter{})
	if err != nil {
		fail(w, err)
		return
	}
	out := stats.Summary{Node: stats.NodeStats{NodeName: s.cfg.NodeName}, Pods: []stats.PodStats{}}
	index := map[string]int{}
	for _, st := range all {
		l := st.GetAttributes().GetLabels()
		uid := l[spec.LabelPodUID]
		i, ok := index[uid]
		if !ok {
			i = len(out.Pods)
			index[uid] = i
			out.Pods = append(out.Pods, stats.PodStats{PodRef: stats.PodReference{Name: l[spec.LabelPodName], Namespace: l[spec.LabelPodNamespace], UID: uid}})
		}
		out.Pods[i].Containers = append(out.Pods[i].Containers, containerStats(l[spec.LabelContainerName], st))
	}
	writeJSON(w, out)
}

func containerStats(name string, st *runtimeapi.ContainerStats) stats.ContainerStats {
	c := stats.ContainerStats{Name: name}
	if cpu := st.GetCpu(); cpu != nil {
		c.CPU = &stats.CPUStats{Time: metav1.NewTime(time.Unix(0, cpu.Timestamp))}
		if v := cpu.GetUsageCoreNanoSeconds(); v != nil {
			c.CPU.UsageCoreNanoSeconds = &v.Value
		}
		if v := cpu.GetUsageNanoCores(); v != nil {
			c.CPU.UsageNanoCores = &v.Value
		}
	}
	if memory := st.GetMemory(); memory != nil {
		c.Memory = &stats.MemoryStats{Time: metav1.NewTime(time.Unix(0, memory.Timestamp))}
		if v := memory.GetWorkingSetBytes(); v != nil {
			c.Memory.WorkingSetBytes = &v.Value
		}
		if v := memory.GetUsageBytes(); v != nil {
			c.Memory.UsageBytes = &v.Value
		}
	}
	return c
}
