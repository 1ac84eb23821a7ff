// Package podresources serves the kubelet's podresources API on a node
// (k8s.io/kubelet/pkg/apis/podresources/v1), from which monitors of devices learn which
// container has what. It tells what there is and changes nothing.
//
// CPUs and memory are never a container's own here, as on a node whose CPU and memory
// managers have the policies none and None: the lists of them are empty.
package podresources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"

	"minato/internal/node/device"
	"minato/internal/node/nodesocket"
)

// Socket is where that is, on the node.
const Socket = "/var/lib/kubelet/pod-resources/kubelet.sock"

// Bounds of how often clients may ask, which are the kubelet's.
const (
	requestsPerSecond = 100
	burst             = 10
)

// Devices tells who has what of device plugins.
type Devices interface {
	Of(pod types.UID, container string) []device.Has
	Healthy() []device.Has
}

// Claims tells what a container has of ResourceClaims.
type Claims interface {
	Of(pod *v1.Pod, container *v1.Container) []*api.DynamicResource
}

// Config is what a Server needs.
type Config struct {
	Root    nodesocket.Root
	Devices Devices
	// Claims may be nil: then no container has any.
	Claims Claims
	// Pods are those of the node that have not ended.
	Pods   func() []*v1.Pod
	Logger *slog.Logger
}

// Server answers at the socket.
type Server struct {
	api.UnimplementedPodResourcesListerServer
	cfg   Config
	limit *rate.Limiter
}

// New returns a server; it touches nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Root == nil || cfg.Devices == nil || cfg.Pods == nil {
		return nil, errors.New("podresources: Config.Root, Config.Devices and Config.Pods are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, limit: rate.NewLimiter(requestsPerSecond, burst)}, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	server, err := nodesocket.New(nodesocket.Config{
		Root: s.cfg.Root, Path: Socket, Options: []grpc.ServerOption{grpc.UnaryInterceptor(s.bounded)},
		Register: func(r grpc.ServiceRegistrar) { api.RegisterPodResourcesListerServer(r, s) },
		Failed: func(err error) {
			s.cfg.Logger.Warn("the node can't tell which container has which device; will try again", "socket", Socket, "error", err)
		},
	})
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

// bounded refuses what comes too fast, in the kubelet's words.
func (s *Server) bounded(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !s.limit.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
	}
	return next(ctx, req)
}

// List implements the API.
func (s *Server) List(context.Context, *api.ListPodResourcesRequest) (*api.ListPodResourcesResponse, error) {
	pods := slices.Clone(s.cfg.Pods())
	slices.SortFunc(pods, func(a, b *v1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	out := &api.ListPodResourcesResponse{}
	for _, p := range pods {
		out.PodResources = append(out.PodResources, s.of(p))
	}
	return out, nil
}

// Get implements the API.
func (s *Server) Get(_ context.Context, req *api.GetPodResourcesRequest) (*api.GetPodResourcesResponse, error) {
	for _, p := range s.cfg.Pods() {
		if p.Namespace == req.GetPodNamespace() && p.Name == req.GetPodName() {
			return &api.GetPodResourcesResponse{PodResources: s.of(p)}, nil
		}
	}
	return nil, fmt.Errorf("pod %s in namespace %s not found", req.GetPodName(), req.GetPodNamespace())
}

// GetAllocatableResources implements the API.
func (s *Server) GetAllocatableResources(context.Context, *api.AllocatableResourcesRequest) (*api.AllocatableResourcesResponse, error) {
	return &api.AllocatableResourcesResponse{Devices: devices(s.cfg.Devices.Healthy())}, nil
}

// of tells what the containers of a Pod have: those that run as long as it does.
func (s *Server) of(p *v1.Pod) *api.PodResources {
	out := &api.PodResources{Name: p.Name, Namespace: p.Namespace}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			out.Containers = append(out.Containers, s.container(p, c))
		}
	}
	for i := range p.Spec.Containers {
		out.Containers = append(out.Containers, s.container(p, &p.Spec.Containers[i]))
	}
	return out
}

func (s *Server) container(p *v1.Pod, c *v1.Container) *api.ContainerResources {
	out := &api.ContainerResources{Name: c.Name, Devices: devices(s.cfg.Devices.Of(p.UID, c.Name))}
	if s.cfg.Claims != nil {
		out.DynamicResources = s.cfg.Claims.Of(p, c)
	}
	return out
}

// devices are an entry for each device, as from a kubelet.
func devices(all []device.Has) []*api.ContainerDevices {
	var out []*api.ContainerDevices
	for _, h := range all {
		for _, d := range h.Devices {
			one := &api.ContainerDevices{ResourceName: h.Resource, DeviceIds: []string{d.ID}}
			if len(d.NUMA) > 0 {
				one.Topology = &api.TopologyInfo{}
			}
			for _, n := range d.NUMA {
				one.Topology.Nodes = append(one.Topology.Nodes, &api.NUMANode{ID: n})
			}
			out = append(out, one)
		}
	}
	return out
}
