package remote

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListPodSandbox implements CRI, for what is the node's.
func (r *Runtime) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.ListPodSandbox, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		Id: filter.GetId(), State: filter.GetState(), LabelSelector: r.cfg.Owner.mark(filter.GetLabelSelector()),
	}})
	if err != nil {
		return nil, err
	}
	for _, sb := range resp.GetItems() {
		r.own(sb.GetId(), sb.GetLabels()[labelPodUID])
	}
	return resp.GetItems(), nil
}

// ListContainers implements CRI, for what is the node's.
func (r *Runtime) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	resp, err := invoke(ctx, r.conn, patience, r.conn.runtime.ListContainers, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		Id: filter.GetId(), State: filter.GetState(), PodSandboxId: filter.GetPodSandboxId(), LabelSelector: r.cfg.Owner.mark(filter.GetLabelSelector()),
	}})
	if err != nil {
		return nil, err
	}
	for _, c := range resp.GetContainers() {
		r.ownContainer(c.GetId(), c.GetLabels()[labelPodUID], c.GetMetadata())
	}
	return resp.GetContainers(), nil
}
