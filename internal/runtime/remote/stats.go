package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/oci"
)

// ContainerStats implements CRI.
func (r *Runtime) ContainerStats(ctx context.Context, id string) (*runtimeapi.ContainerStats, error) {
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.ContainerStats, &runtimeapi.ContainerStatsRequest{ContainerId: id})
	return resp.GetStats(), err
}

// ListContainerStats implements CRI, for what is the node's.
func (r *Runtime) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.ListContainerStats, &runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{
		Id: filter.GetId(), PodSandboxId: filter.GetPodSandboxId(), LabelSelector: r.cfg.Owner.mark(filter.GetLabelSelector()),
	}})
	return resp.GetStats(), err
}

// PodSandboxStats implements CRI: from the cgroups, which every runtime has, while
// old ones do not have this method.
func (r *Runtime) PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	all, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{Id: id})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("pod sandbox %s: it is none of this node's", id)
	}
	return r.sandboxStats(ctx, all[0])
}

// ListPodSandboxStats implements CRI.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	all, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{
		Id: filter.GetId(), LabelSelector: filter.GetLabelSelector(), State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
	})
	var out []*runtimeapi.PodSandboxStats
	for _, sb := range all {
		st, err := r.sandboxStats(ctx, sb)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, err
}

func (r *Runtime) sandboxStats(ctx context.Context, sb *runtimeapi.PodSandbox) (*runtimeapi.PodSandboxStats, error) {
	running, err := r.ListContainers(ctx, &runtimeapi.ContainerFilter{
		PodSandboxId: sb.GetId(), State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		return nil, err
	}
	now, cg := time.Now(), r.PodCgroup(sb.GetLabels()[labelPodUID])
	linux := &runtimeapi.LinuxPodSandboxStats{Process: &runtimeapi.ProcessUsage{Timestamp: now.UnixNano()}}
	linux.Cpu, linux.Memory = oci.UsageOf(cg, now)
	if pids, err := cg.Procs(); err == nil {
		linux.Process.ProcessCount = &runtimeapi.UInt64Value{Value: uint64(len(pids))}
	}
	for _, c := range running {
		st := &runtimeapi.ContainerStats{Attributes: &runtimeapi.ContainerAttributes{
			Id: c.GetId(), Metadata: c.GetMetadata(), Labels: c.GetLabels(), Annotations: c.GetAnnotations(),
		}}
		st.Cpu, st.Memory = oci.UsageOf(cg.Child(c.GetId()), now)
		linux.Containers = append(linux.Containers, st)
	}
	return &runtimeapi.PodSandboxStats{Linux: linux, Attributes: &runtimeapi.PodSandboxAttributes{
		Id: sb.GetId(), Metadata: sb.GetMetadata(), Labels: sb.GetLabels(), Annotations: sb.GetAnnotations(),
	}}, nil
}

// PodInterfaces counts what has passed the interfaces of a Pod's own network; a
// Pod on the node's network has none, nor has one of a runtime that does not tell
// where the network is.
func (r *Runtime) PodInterfaces(uid string) ([]host.LinkCounters, error) {
	if text := r.Trouble(); text != "" { // who asks for all Pods would wait for each
		return nil, errors.New(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), briefly)
	defer cancel()
	all, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{
		LabelSelector: map[string]string{labelPodUID: uid}, State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
	})
	if err != nil || len(all) == 0 || all[0].GetLabels()[labelNetwork] == networkOfNode {
		return nil, err
	}
	path, err := r.network(ctx, all[0].GetId())
	if err != nil || path == "" {
		return nil, err
	}
	return host.Netns{Name: all[0].GetId(), Path: path}.Counters()
}

// network is the path of a sandbox's network namespace.
func (r *Runtime) network(ctx context.Context, id string) (string, error) {
	r.mu.Lock()
	path, ok := r.networks[id]
	r.mu.Unlock()
	if ok {
		return path, nil
	}
	resp, err := r.sandboxStatus(ctx, id, true)
	if err != nil {
		return "", err
	}
	path = netnsOf(resp.GetInfo())
	r.mu.Lock()
	r.networks[id] = path
	r.mu.Unlock()
	return path, nil
}

// ListMetricDescriptors implements CRI: there are none beside the statistics.
func (r *Runtime) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics implements CRI: there are none beside the statistics.
func (r *Runtime) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}
