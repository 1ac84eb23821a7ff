package cadvisor

import (
	"context"

	"github.com/google/cadvisor/container"
	info "github.com/google/cadvisor/info/v1"
	v2 "github.com/google/cadvisor/info/v2"
	"github.com/google/cadvisor/metrics"
	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"minato/internal/host"
	"minato/internal/node/usage"
)

// Interfaces counts what has passed the interfaces of Pods.
type Interfaces interface {
	PodInterfaces(uid string) ([]host.LinkCounters, error)
}

// Config is what the figures come from.
type Config struct {
	Usage *usage.Source
	// Interfaces is nil where the container runtime doesn't tell.
	Interfaces Interfaces
	Netns      host.Netns
	// Dir is on the file system that containers and volumes of the node are on.
	Dir string
	// Capacity and System are what the Node says.
	Capacity v1.ResourceList
	System   v1.NodeSystemInfo
	Clock    clock.Clock
}

// metricSet are the kinds of figures that are told. A kubelet has the load of the
// CPU besides, as zeros: nobody measures it there either. Some are known only
// where the cgroups of containers are.
func metricSet(cgroups bool) container.MetricSet {
	set := container.MetricSet{
		container.CpuUsageMetrics: {}, container.MemoryUsageMetrics: {}, container.DiskUsageMetrics: {}, container.NetworkUsageMetrics: {},
	}
	if cgroups {
		for _, kind := range []container.MetricKind{container.DiskIOMetrics, container.ProcessMetrics, container.OOMMetrics} {
			set[kind] = struct{}{}
		}
	}
	return set
}

// Collectors are for one request.
func Collectors(ctx context.Context, cfg Config) []prometheus.Collector {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	p := &provider{cfg: cfg, ctx: ctx}
	set := metricSet(cfg.Usage.Counted())
	return []prometheus.Collector{
		metrics.NewPrometheusMachineCollector(p, set),
		metrics.NewPrometheusCollector(p, labels, set, cfg.Clock, v2.RequestOptions{}),
	}
}

// Labels of the runtime's containers that the kubelet makes labels of metrics of.
const (
	labelPod       = "pod"
	labelNamespace = "namespace"
	labelContainer = "container"
)

// labels are the kubelet's: all metrics have all of them, if only empty.
func labels(c *info.ContainerInfo) map[string]string {
	name := ""
	if len(c.Aliases) > 0 {
		name = c.Aliases[0]
	}
	return map[string]string{
		metrics.LabelID: c.Name, metrics.LabelName: name, metrics.LabelImage: c.Spec.Image,
		labelPod: c.Spec.Labels[labelPod], labelNamespace: c.Spec.Labels[labelNamespace], labelContainer: c.Spec.Labels[labelContainer],
	}
}
