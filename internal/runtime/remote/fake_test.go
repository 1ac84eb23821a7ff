package remote

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fake is a runtime that only remembers what it was told. Methods that it does not
// have are unknown to it, as to an old runtime.
type fake struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	mu         sync.Mutex
	address    string // of the next sandbox
	version    string // 1.6 where empty
	config     string // what the status has as the configuration
	making     func() // is called while a sandbox is made; nil is nothing
	sandboxes  map[string]*runtimeapi.PodSandboxConfig
	stopped    map[string]bool
	containers map[string]*runtimeapi.ContainerConfig
	states     map[string]runtimeapi.ContainerState
	images     []*runtimeapi.Image
	removed    []string
}

// serve serves a fake at a socket until the test's end, and returns its endpoint.
func serve(t *testing.T) (*fake, string) {
	t.Helper()
	f := &fake{
		sandboxes: map[string]*runtimeapi.PodSandboxConfig{}, stopped: map[string]bool{},
		containers: map[string]*runtimeapi.ContainerConfig{}, states: map[string]runtimeapi.ContainerState{},
	}
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(s, f)
	runtimeapi.RegisterImageServiceServer(s, f)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return f, "unix://" + path
}

func (f *fake) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "containerd", RuntimeVersion: cmp.Or(f.version, "1.6.20~ds1"), RuntimeApiVersion: "v1"}, nil
}

func (f *fake) Status(_ context.Context, req *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{}, Info: map[string]string{"config": f.config}}, nil
}

func (f *fake) RunPodSandbox(_ context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	if f.making != nil {
		f.making()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id := fmt.Sprintf("sandbox-%s-%d", req.GetConfig().GetMetadata().GetName(), req.GetConfig().GetMetadata().GetAttempt())
	f.sandboxes[id] = req.GetConfig()
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (f *fake) StopPodSandbox(_ context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped[req.GetPodSandboxId()] = true
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

func (f *fake) RemovePodSandbox(_ context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sandboxes, req.GetPodSandboxId())
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (f *fake) PodSandboxStatus(_ context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.sandboxes[req.GetPodSandboxId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{
		Id: req.GetPodSandboxId(), Metadata: c.GetMetadata(), Labels: c.GetLabels(), Network: &runtimeapi.PodSandboxNetworkStatus{Ip: f.address},
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: c.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}}, nil
}

func selected(labels, selector map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func (f *fake) ListPodSandbox(_ context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &runtimeapi.ListPodSandboxResponse{}
	for _, id := range slices.Sorted(maps.Keys(f.sandboxes)) {
		c, state := f.sandboxes[id], runtimeapi.PodSandboxState_SANDBOX_READY
		if f.stopped[id] {
			state = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
		}
		q := req.GetFilter()
		if selected(c.GetLabels(), q.GetLabelSelector()) && (q.GetId() == "" || q.GetId() == id) && (q.GetState() == nil || q.GetState().GetState() == state) {
			out.Items = append(out.Items, &runtimeapi.PodSandbox{Id: id, Metadata: c.GetMetadata(), Labels: c.GetLabels(), State: state})
		}
	}
	return out, nil
}

func (f *fake) CreateContainer(_ context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := "container-" + req.GetConfig().GetMetadata().GetName()
	f.containers[id] = req.GetConfig()
	f.states[id] = runtimeapi.ContainerState_CONTAINER_CREATED
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

func (f *fake) StartContainer(_ context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states[req.GetContainerId()] = runtimeapi.ContainerState_CONTAINER_RUNNING
	return &runtimeapi.StartContainerResponse{}, nil
}

func (f *fake) ListContainers(_ context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &runtimeapi.ListContainersResponse{}
	for id, c := range f.containers {
		if selected(c.GetLabels(), req.GetFilter().GetLabelSelector()) {
			out.Containers = append(out.Containers, &runtimeapi.Container{Id: id, Labels: c.GetLabels(), State: f.states[id], Image: c.GetImage(), PodSandboxId: "sandbox"})
		}
	}
	return out, nil
}

func (f *fake) ContainerStatus(_ context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[req.GetContainerId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{Id: req.GetContainerId(), Metadata: c.GetMetadata(), Mounts: c.GetMounts(), State: f.states[req.GetContainerId()]}}, nil
}

func (f *fake) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &runtimeapi.ListImagesResponse{Images: slices.Clone(f.images)}, nil
}

func (f *fake) RemoveImage(_ context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = append(f.removed, req.GetImage().GetImage())
	f.images = slices.DeleteFunc(f.images, func(i *runtimeapi.Image) bool { return i.GetId() == req.GetImage().GetImage() })
	return &runtimeapi.RemoveImageResponse{}, nil
}
