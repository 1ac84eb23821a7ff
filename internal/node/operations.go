package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// operations counts what the agent asks of the container runtime, under the
// kubelet's names (kubelet/kuberuntime/instrumented_services.go).
type operations struct {
	total, errors *prometheus.CounterVec
	took          *prometheus.HistogramVec
	sandboxes     *prometheus.HistogramVec
	notSandboxes  *prometheus.CounterVec
	userns        *usernsStarts
}

func newOperations() *operations {
	labels := []string{"operation_type"}
	return &operations{
		total:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_total", Help: "Cumulative number of runtime operations by operation type."}, labels),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_errors_total", Help: "Cumulative number of runtime operation errors by operation type."}, labels),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_runtime_operations_duration_seconds", Help: "Duration in seconds of runtime operations. Broken down by operation type.",
			Buckets: prometheus.ExponentialBuckets(.005, 2.5, 14),
		}, labels),
		sandboxes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_run_podsandbox_duration_seconds", Help: "Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler.",
		}, []string{"runtime_handler"}),
		notSandboxes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubelet_run_podsandbox_errors_total", Help: "Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.",
		}, []string{"runtime_handler"}),
		userns: newUsernsStarts(),
	}
}

// Describe implements prometheus.Collector.
func (o *operations) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range o.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (o *operations) Collect(ch chan<- prometheus.Metric) {
	for _, c := range o.all() {
		c.Collect(ch)
	}
}

func (o *operations) all() []prometheus.Collector {
	return []prometheus.Collector{o.total, o.errors, o.took, o.sandboxes, o.notSandboxes, o.userns.started, o.userns.failed}
}

// count counts one operation that began at a time.
func (o *operations) count(name string, began time.Time, err error) {
	o.total.WithLabelValues(name).Inc()
	o.took.WithLabelValues(name).Observe(time.Since(began).Seconds())
	if err != nil {
		o.errors.WithLabelValues(name).Inc()
	}
}

// countedRuntime is a container runtime whose operations are counted.
type countedRuntime struct {
	cri.RuntimeService
	*operations
}

// RunPodSandbox implements cri.RuntimeService, and so do the functions below.
func (r countedRuntime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (id string, err error) {
	began := time.Now()
	id, err = r.RuntimeService.RunPodSandbox(ctx, config, handler)
	r.count("run_podsandbox", began, err)
	r.sandboxes.WithLabelValues(handler).Observe(time.Since(began).Seconds())
	if err != nil {
		r.notSandboxes.WithLabelValues(handler).Inc()
	}
	r.userns.sandbox(config, id, err)
	return id, err
}

func (r countedRuntime) StopPodSandbox(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { r.count("stop_podsandbox", t, err) }(time.Now())
	return r.RuntimeService.StopPodSandbox(ctx, id)
}

func (r countedRuntime) RemovePodSandbox(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { r.count("remove_podsandbox", t, err) }(time.Now())
	r.userns.removed(id)
	return r.RuntimeService.RemovePodSandbox(ctx, id)
}

func (r countedRuntime) PodSandboxStatus(ctx context.Context, id string, verbose bool) (s *runtimeapi.PodSandboxStatusResponse, err error) {
	defer func(t time.Time) { r.count("podsandbox_status", t, err) }(time.Now())
	return r.RuntimeService.PodSandboxStatus(ctx, id, verbose)
}

func (r countedRuntime) ListPodSandbox(ctx context.Context, f *runtimeapi.PodSandboxFilter) (l []*runtimeapi.PodSandbox, err error) {
	defer func(t time.Time) { r.count("list_podsandbox", t, err) }(time.Now())
	return r.RuntimeService.ListPodSandbox(ctx, f)
}

func (r countedRuntime) CreateContainer(ctx context.Context, sandbox string, c *runtimeapi.ContainerConfig, s *runtimeapi.PodSandboxConfig) (id string, err error) {
	defer func(t time.Time) { r.count("create_container", t, err) }(time.Now())
	id, err = r.RuntimeService.CreateContainer(ctx, sandbox, c, s)
	r.userns.created(sandbox, id, err)
	return id, err
}

func (r countedRuntime) StartContainer(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { r.count("start_container", t, err) }(time.Now())
	err = r.RuntimeService.StartContainer(ctx, id)
	r.userns.ran(id, err)
	return err
}

func (r countedRuntime) StopContainer(ctx context.Context, id string, timeout int64) (err error) {
	defer func(t time.Time) { r.count("stop_container", t, err) }(time.Now())
	return r.RuntimeService.StopContainer(ctx, id, timeout)
}

func (r countedRuntime) RemoveContainer(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { r.count("remove_container", t, err) }(time.Now())
	return r.RuntimeService.RemoveContainer(ctx, id)
}

func (r countedRuntime) ListContainers(ctx context.Context, f *runtimeapi.ContainerFilter) (l []*runtimeapi.Container, err error) {
	defer func(t time.Time) { r.count("list_containers", t, err) }(time.Now())
	return r.RuntimeService.ListContainers(ctx, f)
}

func (r countedRuntime) ContainerStatus(ctx context.Context, id string, verbose bool) (s *runtimeapi.ContainerStatusResponse, err error) {
	defer func(t time.Time) { r.count("container_status", t, err) }(time.Now())
	return r.RuntimeService.ContainerStatus(ctx, id, verbose)
}

func (r countedRuntime) UpdateContainerResources(ctx context.Context, id string, u *runtimeapi.ContainerResources) (err error) {
	defer func(t time.Time) { r.count("update_container", t, err) }(time.Now())
	return r.RuntimeService.UpdateContainerResources(ctx, id, u)
}

func (r countedRuntime) ReopenContainerLog(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { r.count("reopen_container_log", t, err) }(time.Now())
	return r.RuntimeService.ReopenContainerLog(ctx, id)
}

func (r countedRuntime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	defer func(t time.Time) { r.count("exec_sync", t, err) }(time.Now())
	return r.RuntimeService.ExecSync(ctx, id, cmd, timeout)
}

func (r countedRuntime) ListContainerStats(ctx context.Context, f *runtimeapi.ContainerStatsFilter) (l []*runtimeapi.ContainerStats, err error) {
	defer func(t time.Time) { r.count("list_container_stats", t, err) }(time.Now())
	return r.RuntimeService.ListContainerStats(ctx, f)
}

func (r countedRuntime) Status(ctx context.Context, verbose bool) (s *runtimeapi.StatusResponse, err error) {
	defer func(t time.Time) { r.count("status", t, err) }(time.Now())
	return r.RuntimeService.Status(ctx, verbose)
}

func (r countedRuntime) Version(ctx context.Context, version string) (v *runtimeapi.VersionResponse, err error) {
	defer func(t time.Time) { r.count("version", t, err) }(time.Now())
	return r.RuntimeService.Version(ctx, version)
}

// countedImages are an image service whose operations are counted.
type countedImages struct {
	cri.ImageManagerService
	*operations
}

// ListImages implements cri.ImageManagerService, and so do the functions below.
func (i countedImages) ListImages(ctx context.Context, f *runtimeapi.ImageFilter) (l []*runtimeapi.Image, err error) {
	defer func(t time.Time) { i.count("list_images", t, err) }(time.Now())
	return i.ImageManagerService.ListImages(ctx, f)
}

func (i countedImages) ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, verbose bool) (s *runtimeapi.ImageStatusResponse, err error) {
	defer func(t time.Time) { i.count("image_status", t, err) }(time.Now())
	return i.ImageManagerService.ImageStatus(ctx, image, verbose)
}

func (i countedImages) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, config *runtimeapi.PodSandboxConfig) (ref string, err error) {
	defer func(t time.Time) { i.count("pull_image", t, err) }(time.Now())
	return i.ImageManagerService.PullImage(ctx, image, auth, config)
}

func (i countedImages) ImageFsInfo(ctx context.Context) (info *runtimeapi.ImageFsInfoResponse, err error) {
	defer func(t time.Time) { i.count("image_fs_info", t, err) }(time.Now())
	return i.ImageManagerService.ImageFsInfo(ctx)
}
