package member

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"minato/internal/host"
	agent "minato/internal/node"
	"minato/internal/runtime/oci"
	"minato/internal/service/route"
	"minato/internal/supervise"
	"minato/internal/version"
)

// runAgent is the node's agent on top of its runtime.
func (m *Member) runAgent(ctx context.Context) error {
	a, err := m.newAgent(ctx)
	if err != nil {
		return err
	}
	m.agent.Store(a)
	defer m.isUp.Store(false)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-a.Ready():
			m.isUp.Store(true)
			m.once.Do(func() { close(m.ready) })
		case <-ended:
		}
	}()
	err = a.Run(ctx)
	if err == nil && ctx.Err() == nil {
		err = errors.New("the node agent ended")
	}
	return err
}

func (m *Member) newAgent(ctx context.Context) (*agent.Agent, error) {
	cfg := m.cfg
	images, err := m.newImages()
	if err != nil {
		return nil, err
	}
	capacity, err := cfg.Claim.capacity()
	if err != nil {
		return nil, err
	}
	values, err := cfg.Kubelet.Values()
	if err != nil {
		return nil, err
	}
	services := cfg.Watch.Services()
	return agent.New(agent.Config{
		Name:                     cfg.Name,
		Labels:                   cfg.Labels,
		Taints:                   cfg.Taints,
		Addresses:                cfg.Addresses,
		PodCIDRs:                 cfg.PodCIDRs,
		ProviderID:               cfg.ProviderID,
		Client:                   m.client,
		Pods:                     m.podInformer,
		Services:                 services.Lister(),
		ServicesSynced:           services.Informer().HasSynced,
		ServicesVersion:          services.Informer().GetIndexer().LastStoreSyncResourceVersion,
		Runtime:                  m.runtime,
		Images:                   images,
		CredentialProviderConfig: cfg.CredentialProviderConfig,
		CredentialProviderBinDir: cfg.CredentialProviderBinDir,
		Streaming:                m.runtime.Streams(),
		Events:                   containerEvents(ctx, m.runtime.Events(ctx)),
		Netns:                    cfg.Netns,
		MountNS:                  m.files,
		Dir:                      cfg.DataDir,
		RunDir:                   cfg.RunDir,
		ClusterDNS:               cfg.ClusterDNS[:1],
		ClusterDomain:            cfg.ClusterDomain,
		ResolvConf:               cfg.ResolvConf,
		Certificates:             cfg.Certificates,
		Limits:                   cfg.Limits,
		Cgroup:                   cfg.Cgroup,
		Capacity:                 capacity,
		Settings:                 values,
		RemoveUnusedImages:       m.removeUnusedImages,
		EvictionTurn:             cfg.EvictionTurn,
		MemoryLimit:              cfg.Claim.Memory,
		ProcessLimit:             cfg.Claim.Processes,
		StorageLimit:             cfg.Claim.Storage,
		LayersApart:              m.remote != nil,
		HugePageLimits:           cfg.Claim.HugePages,
		Users:                    cfg.Users,
		AllowedUnsafeSysctls:     cfg.AllowedUnsafeSysctls,
		OwnPorts:                 hostPorts(ownPorts()),
		Trouble:                  m.trouble,
		FilesDir:                 filepath.Join(cfg.DataDir, "root"),
		DecodePod:                cfg.DecodePod,
		InfoFiles:                cfg.InfoFiles,
		Parts:                    m.nodeParts(),
		PartsAfter:               cfg.PartsAfter,
		Version:                  version.Kubernetes,
		Logger:                   m.logger("agent"),
	})
}

// hostPorts converts the node's own ports to the agent's type.
func hostPorts(own []route.OwnPort) []agent.HostPort {
	var out []agent.HostPort
	for _, p := range own {
		out = append(out, agent.HostPort{Protocol: p.Protocol, Port: int32(p.Port)})
	}
	return out
}

// trouble derives what the Node's conditions have to say from the states of the
// node's parts.
func (m *Member) trouble() agent.Trouble {
	var t agent.Trouble
	if m.remote != nil {
		t.Runtime = m.remote.Trouble()
	}
	for _, s := range m.States() {
		if s.Phase != supervise.Failed {
			continue
		}
		switch s.Name {
		case partRuntime:
			t.Runtime = "container runtime is not ready: " + s.Error
		case partRoutes, partServices:
			t.Network = s.Name + ": " + s.Error
		}
	}
	return t
}

// containerEvents converts the runtime's events to the agent's type, until ctx
// ends.
func containerEvents(ctx context.Context, in <-chan oci.Event) <-chan agent.Event {
	out := make(chan agent.Event)
	go func() {
		defer close(out)
		for e := range in {
			select {
			case out <- agent.Event{ContainerID: e.ContainerID, SandboxID: e.SandboxID}:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// capacity is what the node reports: what it claims, or else all that the machine
// has, though its nodes share it.
func (c Claim) capacity() (corev1.ResourceList, error) {
	cpus, memory := c.CPUs, c.Memory
	if cpus == 0 {
		cpus = int64(runtime.NumCPU())
	}
	if memory == 0 {
		machine, err := host.MachineMemory()
		if err != nil {
			return nil, err
		}
		memory = machine.Total
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(cpus, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
	}, nil
}
