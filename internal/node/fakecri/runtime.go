// Package fakecri is a container runtime in memory, for tests: containers are
// entries in a map that start, exit and are stopped on command.
//
// It implements the CRI's Go interfaces as far as the node agent uses them. No
// other than test code may import it.
package fakecri

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"
)

// Event says that something happened to a container.
type Event struct{ SandboxID, ContainerID string }

// Runtime is the fake. The embedded interfaces are nil: what is not
// implemented panics, which a test should notice.
type Runtime struct {
	cri.RuntimeService
	Clock  clock.PassiveClock
	Events chan Event

	mu         sync.Mutex
	next       int
	sandboxes  map[string]*sandbox
	containers map[string]*container
	calls      []string
	fail       map[string]error
	held       map[string]chan struct{}
	memory     map[string]uint64 // in use, by container name
	exec       func(id string, cmd []string) (string, error)
}

type sandbox struct {
	config  *runtimeapi.PodSandboxConfig
	status  *runtimeapi.PodSandboxStatus
	created time.Time
	limits  *runtimeapi.LinuxContainerResources
}

type container struct {
	config  *runtimeapi.ContainerConfig
	status  *runtimeapi.ContainerStatus
	sandbox string
}

// New returns a runtime without containers.
func New(c clock.PassiveClock) *Runtime {
	return &Runtime{
		Clock: c, Events: make(chan Event, 1024),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
		fail: map[string]error{}, held: map[string]chan struct{}{},
	}
}

// Fail makes calls of a method return err, nil to let them succeed again.
func (r *Runtime) Fail(method string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail[method] = err
}

// OnExec sets what commands in containers do.
func (r *Runtime) OnExec(fn func(containerID string, cmd []string) (string, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exec = fn
}

// HoldStop makes a container of that name ignore its stop signal until the
// returned function is called, or until it is stopped with at most two seconds.
func (r *Runtime) HoldStop(name string) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := make(chan struct{})
	r.held[name] = ch
	return sync.OnceFunc(func() { close(ch) })
}

// Calls lists the calls that changed something, as METHOD NAME.
func (r *Runtime) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func (r *Runtime) called(method, name string) error {
	r.calls = append(r.calls, method+" "+name)
	return r.fail[method]
}

func (r *Runtime) id(prefix string) string {
	r.next++
	return fmt.Sprintf("%s%d", prefix, r.next)
}

// now is later with every call, even where the clock stands still.
func (r *Runtime) now() int64 { r.next++; return r.Clock.Now().UnixNano() + int64(r.next) }

// Exit ends the newest run of a container.
func (r *Runtime) Exit(name string, code int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var last *container
	for _, c := range r.containers {
		if c.status.Metadata.Name == name && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			last = c
		}
	}
	if last != nil {
		r.exit(last, code)
	}
}

func (r *Runtime) exit(c *container, code int32) {
	if c.status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return
	}
	c.status.State, c.status.ExitCode = runtimeapi.ContainerState_CONTAINER_EXITED, code
	c.status.FinishedAt = r.Clock.Now().UnixNano()
	r.Events <- Event{c.sandbox, c.status.Id}
}

// Reboot loses all processes: containers have ended, sandboxes are not ready.
func (r *Runtime) Reboot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		r.exit(c, 137)
	}
	for _, s := range r.sandboxes {
		s.status.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	}
}

// Config returns what the newest run of a container was created with.
func (r *Runtime) Config(name string) *runtimeapi.ContainerConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest *container
	for _, c := range r.containers {
		if c.status.Metadata.Name == name && (newest == nil || c.status.CreatedAt > newest.status.CreatedAt) {
			newest = c
		}
	}
	if newest == nil {
		return nil
	}
	return newest.config
}

// Sandboxes returns what the sandboxes that exist were created with.
func (r *Runtime) Sandboxes() []*runtimeapi.PodSandboxConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.PodSandboxConfig
	for _, s := range r.sandboxes {
		out = append(out, s.config)
	}
	return out
}

// Handler returns the runtime handler that a Pod's sandbox was made with.
func (r *Runtime) Handler(pod string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sandboxes {
		if s.config.Metadata.Name == pod {
			return s.status.RuntimeHandler
		}
	}
	return ""
}

// Version implements the CRI.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "v1", RuntimeName: "fake", RuntimeVersion: "1", RuntimeApiVersion: "v1"}, nil
}

// Status implements the CRI.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fail["Status"]; err != nil {
		return nil, err
	}
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Status: true},
	}}, RuntimeHandlers: []*runtimeapi.RuntimeHandler{
		{Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true}}, {Name: "kata"},
	}}, nil
}

// RunPodSandbox implements the CRI.
func (r *Runtime) RunPodSandbox(_ context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.called("RunPodSandbox", config.Metadata.Name); err != nil {
		return "", err
	}
	id := r.id("sb")
	status := &runtimeapi.PodSandboxStatus{
		Id: id, Metadata: config.Metadata, State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: r.now(),
		Labels: config.Labels, Annotations: config.Annotations,
		Network: &runtimeapi.PodSandboxNetworkStatus{
			Ip:            fmt.Sprintf("10.244.1.%d", r.next),
			AdditionalIps: []*runtimeapi.PodIP{{Ip: fmt.Sprintf("fd00:10:244:1::%x", r.next)}},
		},
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: config.Linux.SecurityContext.NamespaceOptions}},
	}
	if config.Linux.SecurityContext.NamespaceOptions.Network == runtimeapi.NamespaceMode_NODE {
		status.Network = &runtimeapi.PodSandboxNetworkStatus{}
	}
	status.RuntimeHandler = handler
	limits := &runtimeapi.LinuxContainerResources{}
	if l := config.Linux.Resources; l != nil {
		limits.CpuShares, limits.CpuQuota, limits.MemoryLimitInBytes = l.CpuShares, l.CpuQuota, l.MemoryLimitInBytes
	}
	r.sandboxes[id] = &sandbox{config: config, status: status, limits: limits}
	return id, nil
}

// StopPodSandbox implements the CRI.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil {
		return nil
	}
	if err := r.called("StopPodSandbox", s.config.Metadata.Name); err != nil {
		return err
	}
	for _, c := range r.containers {
		if c.sandbox == id {
			r.exit(c, 137)
		}
	}
	s.status.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	return nil
}

// RemovePodSandbox implements the CRI.
func (r *Runtime) RemovePodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[id]; s != nil {
		if err := r.called("RemovePodSandbox", s.config.Metadata.Name); err != nil {
			return err
		}
	}
	for cid, c := range r.containers {
		if c.sandbox == id {
			r.exit(c, 137)
			delete(r.containers, cid)
		}
	}
	delete(r.sandboxes, id)
	return nil
}

// PodSandboxStatus implements the CRI.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil {
		return nil, errors.New("no such sandbox")
	}
	status := &runtimeapi.PodSandboxStatus{
		Id: id, Metadata: s.status.Metadata, State: s.status.State, CreatedAt: s.status.CreatedAt,
		Labels: s.status.Labels, Annotations: s.status.Annotations, Network: s.status.Network, Linux: s.status.Linux,
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: status}, nil
}

// ListPodSandbox implements the CRI.
func (r *Runtime) ListPodSandbox(_ context.Context, f *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fail["ListPodSandbox"]; err != nil {
		return nil, err
	}
	var out []*runtimeapi.PodSandbox
	for id, s := range r.sandboxes {
		if (f.GetId() == "" || f.GetId() == id) && selected(s.status.Labels, f.GetLabelSelector()) {
			out = append(out, &runtimeapi.PodSandbox{Id: id, Metadata: s.status.Metadata, State: s.status.State, CreatedAt: s.status.CreatedAt, Labels: s.status.Labels})
		}
	}
	return out, nil
}

func selected(labels, selector map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}
