package node

import (
	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
)

// collector counts the node's Pods and containers when somebody asks, under the
// names that every kubelet uses.
type collector struct {
	node string
	pods func() []*v1.Pod

	nodeName, running, containers *prometheus.Desc
}

func newCollector(node string, pods func() []*v1.Pod) *collector {
	return &collector{
		node: node, pods: pods,
		nodeName:   prometheus.NewDesc("kubelet_node_name", "The node's name. The count is always 1.", []string{"node"}, nil),
		running:    prometheus.NewDesc("kubelet_running_pods", "Number of pods that have a running pod sandbox", nil, nil),
		containers: prometheus.NewDesc("kubelet_running_containers", "Number of containers currently running", []string{"container_state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.nodeName
	ch <- c.running
	ch <- c.containers
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	running := 0
	states := map[string]int{"running": 0, "waiting": 0, "exited": 0}
	for _, p := range c.pods() {
		if p.Status.Phase == v1.PodRunning {
			running++
		}
		for _, list := range [][]v1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range list {
				states[stateName(&list[i].State)]++
			}
		}
	}
	ch <- prometheus.MustNewConstMetric(c.nodeName, prometheus.GaugeValue, 1, c.node)
	ch <- prometheus.MustNewConstMetric(c.running, prometheus.GaugeValue, float64(running))
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(c.containers, prometheus.GaugeValue, float64(n), state)
	}
}

func stateName(s *v1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return "exited"
	}
	return "waiting"
}
