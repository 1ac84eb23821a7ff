package node

import (
	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"

	"minato/internal/node/volume"
)

// collector counts the node's Pods and containers when somebody asks, under the
// names that every kubelet uses.
type collector struct {
	node   string
	pods   func() []*v1.Pod
	claims func(*v1.Pod) []volume.Stats

	nodeName, running, containers, desired, active *prometheus.Desc
	volumes                                        []volumeMetric
}

// volumeMetric is one figure of a claim.
type volumeMetric struct {
	desc  *prometheus.Desc
	value func(volume.Stats) uint64
}

func volumeMetrics() []volumeMetric {
	metric := func(name, help string, value func(volume.Stats) uint64) volumeMetric {
		return volumeMetric{prometheus.NewDesc("kubelet_volume_stats_"+name, help, []string{"namespace", "persistentvolumeclaim"}, nil), value}
	}
	return []volumeMetric{
		metric("capacity_bytes", "Capacity in bytes of the volume", func(s volume.Stats) uint64 { return s.Capacity }),
		metric("available_bytes", "Number of available bytes in the volume", func(s volume.Stats) uint64 { return s.Available }),
		metric("used_bytes", "Number of used bytes in the volume", func(s volume.Stats) uint64 { return s.Used }),
		metric("inodes", "Maximum number of inodes in the volume", func(s volume.Stats) uint64 { return s.Inodes }),
		metric("inodes_free", "Number of free inodes in the volume", func(s volume.Stats) uint64 { return s.InodesFree }),
		metric("inodes_used", "Number of used inodes in the volume", func(s volume.Stats) uint64 { return s.InodesUsed }),
	}
}

func newCollector(node string, pods func() []*v1.Pod, claims func(*v1.Pod) []volume.Stats) *collector {
	return &collector{
		node: node, pods: pods, claims: claims, volumes: volumeMetrics(),
		desired:    prometheus.NewDesc("kubelet_desired_pods", "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.", []string{"static"}, nil),
		active:     prometheus.NewDesc("kubelet_active_pods", "The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.", []string{"static"}, nil),
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
	ch <- c.desired
	ch <- c.active
	for _, v := range c.volumes {
		ch <- v.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	running := 0
	states := map[string]int{"running": 0, "waiting": 0, "exited": 0}
	desired, active, claimed := map[string]int{"": 0, "true": 0}, map[string]int{"": 0, "true": 0}, map[[2]string]bool{}
	for _, p := range c.pods() {
		static := ""
		if p.Annotations[v1.MirrorPodAnnotationKey] != "" {
			static = "true"
		}
		desired[static]++
		if p.Status.Phase != v1.PodSucceeded && p.Status.Phase != v1.PodFailed {
			active[static]++
			c.collectClaims(ch, p, claimed)
		}
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
	for static, n := range desired {
		ch <- prometheus.MustNewConstMetric(c.desired, prometheus.GaugeValue, float64(n), static)
	}
	for static, n := range active {
		ch <- prometheus.MustNewConstMetric(c.active, prometheus.GaugeValue, float64(n), static)
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(c.containers, prometheus.GaugeValue, float64(n), state)
	}
}

// collectClaims tells of the Pod's claims. Two Pods may have the same one.
func (c *collector) collectClaims(ch chan<- prometheus.Metric, p *v1.Pod, told map[[2]string]bool) {
	for _, s := range c.claims(p) {
		key := [2]string{p.Namespace, s.Claim}
		if told[key] {
			continue
		}
		told[key] = true
		for _, v := range c.volumes {
			ch <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, float64(v.value(s)), key[0], key[1])
		}
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
