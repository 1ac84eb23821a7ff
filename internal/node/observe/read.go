package observe

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/spec"
)

// Runtime is the part of the CRI that is read.
type Runtime interface {
	ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error)
	PodSandboxStatus(ctx context.Context, podSandboxID string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error)
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
	ContainerStatus(ctx context.Context, containerID string, verbose bool) (*runtimeapi.ContainerStatusResponse, error)
}

// Read takes a snapshot of one Pod. A Pod that the runtime does not know gives
// an empty snapshot.
func Read(ctx context.Context, r Runtime, uid types.UID) (*Pod, error) {
	p := &Pod{UID: uid}
	label := map[string]string{spec.LabelPodUID: string(uid)}
	sandboxes, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: label})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes of pod %s: %w", uid, err)
	}
	for _, s := range sandboxes {
		if err := p.addSandbox(ctx, r, s.Id); err != nil {
			return nil, err
		}
	}
	containers, err := r.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: label})
	if err != nil {
		return nil, fmt.Errorf("list containers of pod %s: %w", uid, err)
	}
	for _, c := range containers {
		if err := p.addContainer(ctx, r, c); err != nil {
			return nil, err
		}
	}
	p.sort()
	return p, nil
}

// UIDs lists the Pods that the runtime has a sandbox or a container of.
func UIDs(ctx context.Context, r Runtime) ([]types.UID, error) {
	sandboxes, err := r.ListPodSandbox(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	containers, err := r.ListContainers(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	seen := map[types.UID]bool{}
	var uids []types.UID
	add := func(labels map[string]string) {
		uid := types.UID(labels[spec.LabelPodUID])
		if uid != "" && !seen[uid] {
			seen[uid] = true
			uids = append(uids, uid)
		}
	}
	for _, s := range sandboxes {
		add(s.Labels)
	}
	for _, c := range containers {
		add(c.Labels)
	}
	return uids, nil
}

func (p *Pod) addSandbox(ctx context.Context, r Runtime, id string) error {
	resp, err := r.PodSandboxStatus(ctx, id, false)
	if err != nil {
		if left, lerr := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{Id: id}); lerr == nil && len(left) == 0 {
			return nil // it went away since it was listed
		}
		return fmt.Errorf("status of sandbox %s of pod %s: %w", id, p.UID, err)
	}
	st := resp.Status
	s := Sandbox{
		ID:          id,
		Attempt:     st.GetMetadata().GetAttempt(),
		Ready:       st.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY,
		HostNetwork: st.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
		CreatedAt:   stamp(st.GetCreatedAt()),
		Annotations: st.GetAnnotations(),
	}
	if ip := st.GetNetwork().GetIp(); ip != "" {
		s.IPs = append(s.IPs, ip)
	}
	for _, more := range st.GetNetwork().GetAdditionalIps() {
		s.IPs = append(s.IPs, more.Ip)
	}
	p.Namespace, p.Name = st.GetMetadata().GetNamespace(), st.GetMetadata().GetName()
	p.Sandboxes = append(p.Sandboxes, s)
	return nil
}

func (p *Pod) addContainer(ctx context.Context, r Runtime, listed *runtimeapi.Container) error {
	resp, err := r.ContainerStatus(ctx, listed.Id, false)
	if err != nil {
		if left, lerr := r.ListContainers(ctx, &runtimeapi.ContainerFilter{Id: listed.Id}); lerr == nil && len(left) == 0 {
			return nil
		}
		return fmt.Errorf("status of container %s of pod %s: %w", listed.Id, p.UID, err)
	}
	st := resp.Status
	c := Container{
		ID:          listed.Id,
		Name:        st.GetMetadata().GetName(),
		SandboxID:   listed.PodSandboxId,
		Attempt:     st.GetMetadata().GetAttempt(),
		State:       st.GetState(),
		CreatedAt:   stamp(st.GetCreatedAt()),
		StartedAt:   stamp(st.GetStartedAt()),
		FinishedAt:  stamp(st.GetFinishedAt()),
		ExitCode:    st.GetExitCode(),
		Reason:      st.GetReason(),
		Message:     st.GetMessage(),
		Image:       st.GetImage().GetImage(),
		ImageRef:    st.GetImageRef(),
		LogPath:     st.GetLogPath(),
		Annotations: st.GetAnnotations(),
		User:        st.GetUser(),
	}
	if user := st.GetImage().GetUserSpecifiedImage(); user != "" {
		c.Image = user
	}
	if p.Name == "" {
		p.Namespace, p.Name = listed.Labels[spec.LabelPodNamespace], listed.Labels[spec.LabelPodName]
	}
	p.Containers = append(p.Containers, c)
	return nil
}

func stamp(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
