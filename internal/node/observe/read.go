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

// Read takes a snapshot of one Pod by asking the runtime for all of it. A Pod
// that the runtime does not know gives an empty snapshot.
func Read(ctx context.Context, r Runtime, uid types.UID) (*Pod, error) {
	p := &Pod{UID: uid}
	sandboxes, containers, err := list(ctx, r, uid)
	if err != nil {
		return nil, err
	}
	for _, s := range sandboxes {
		sandbox, found, err := readSandbox(ctx, r, s.Id)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", uid, err)
		}
		if found {
			p.addSandbox(sandbox)
		}
	}
	for _, c := range containers {
		container, found, err := readContainer(ctx, r, c.Id, c.PodSandboxId)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", uid, err)
		}
		if found {
			p.addContainer(container)
		}
	}
	p.sort()
	return p, nil
}

// list asks for the sandboxes and containers of one Pod, or of all if uid is
// empty.
func list(ctx context.Context, r Runtime, uid types.UID) ([]*runtimeapi.PodSandbox, []*runtimeapi.Container, error) {
	var label map[string]string
	if uid != "" {
		label = map[string]string{spec.LabelPodUID: string(uid)}
	}
	sandboxes, err := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: label})
	if err != nil {
		return nil, nil, fmt.Errorf("list sandboxes of pod %q: %w", uid, err)
	}
	containers, err := r.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: label})
	if err != nil {
		return nil, nil, fmt.Errorf("list containers of pod %q: %w", uid, err)
	}
	return sandboxes, containers, nil
}

// named is a sandbox or container with the name of its Pod.
type named[T any] struct {
	value           T
	namespace, name string
}

func (p *Pod) addSandbox(s named[Sandbox]) {
	p.Namespace, p.Name = s.namespace, s.name
	p.Sandboxes = append(p.Sandboxes, s.value)
}

func (p *Pod) addContainer(c named[Container]) {
	if p.Name == "" {
		p.Namespace, p.Name = c.namespace, c.name
	}
	p.Containers = append(p.Containers, c.value)
}

// readSandbox asks for one sandbox; found is false if it has gone away.
func readSandbox(ctx context.Context, r Runtime, id string) (out named[Sandbox], found bool, err error) {
	resp, err := r.PodSandboxStatus(ctx, id, false)
	if err != nil {
		if left, lerr := r.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{Id: id}); lerr == nil && len(left) == 0 {
			return out, false, nil
		}
		return out, false, fmt.Errorf("status of sandbox %s: %w", id, err)
	}
	st := resp.GetStatus()
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
		s.IPs = append(s.IPs, more.GetIp())
	}
	return named[Sandbox]{s, st.GetMetadata().GetNamespace(), st.GetMetadata().GetName()}, true, nil
}

// readContainer asks for one container; found is false if it has gone away.
func readContainer(ctx context.Context, r Runtime, id, sandboxID string) (out named[Container], found bool, err error) {
	resp, err := r.ContainerStatus(ctx, id, false)
	if err != nil {
		if left, lerr := r.ListContainers(ctx, &runtimeapi.ContainerFilter{Id: id}); lerr == nil && len(left) == 0 {
			return out, false, nil
		}
		return out, false, fmt.Errorf("status of container %s: %w", id, err)
	}
	st := resp.GetStatus()
	c := Container{
		ID:          id,
		Name:        st.GetMetadata().GetName(),
		SandboxID:   sandboxID,
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
		Resources:   st.GetResources().GetLinux(),
	}
	if user := st.GetImage().GetUserSpecifiedImage(); user != "" {
		c.Image = user
	}
	labels := st.GetLabels()
	return named[Container]{c, labels[spec.LabelPodNamespace], labels[spec.LabelPodName]}, true, nil
}

func stamp(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
