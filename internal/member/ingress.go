package member

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"minato/internal/host"
	"minato/internal/host/helper"
	"minato/internal/ingress"
	"minato/internal/version"
)

// IngressCommand is the subcommand by which a node has a process of its own
// serve its ingress.
const IngressCommand = "ingress-proxy"

// RunIngressProxy serves the ingress of the node whose server has started this
// process. It ends when a server says so.
func RunIngressProxy(ctx context.Context, log *slog.Logger) error {
	listener, err := helper.Listener()
	if err != nil {
		return err
	}
	h, err := ingress.NewHelper(ingress.HelperConfig{Listener: listener, Logger: log, Build: version.Get().String()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go slimDown(ctx, log)
	return h.Run(ctx)
}

// slimAfter is when the process has begun to serve.
const slimAfter = 5 * time.Second

// slimDown gives back the memory that only the start needed.
func slimDown(ctx context.Context, log *slog.Logger) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(slimAfter):
	}
	debug.FreeOSMemory()
	if err := host.ReleaseProgramPages(); err != nil {
		log.Warn("Memory of the program's pages that only the start needed can't be given back", "error", err)
	}
}

// ingressEnv is the environment of the process that serves a node's ingress. The
// program's other parts leave it a heap of some megabytes that it never uses, of
// which Go's usual percentage is plenty. There is no GOMEMLIMIT: what clients can
// make it keep is bounded by the settings, and near a limit the collector would
// take the processor from the requests.
func ingressEnv() []string {
	return []string{"GOGC=100", fmt.Sprintf("GOMAXPROCS=%d", runtime.GOMAXPROCS(0))}
}

// newIngress has a process of its own serve the node's ingress, in the node's
// network namespace and cgroup. It is there from the first Ingress on.
func (m *Member) newIngress() error {
	var err error
	m.ingress, err = ingress.NewProcess(ingress.ProcessConfig{
		Logger: m.logger("ingress"),
		Program: host.Confined{
			Path: "/proc/self/exe", Args: []string{IngressCommand}, Env: ingressEnv(),
			Netns: m.cfg.Netns, Cgroup: m.ingressCgroup(), Output: os.Stderr,
		},
		Socket: m.cfg.IngressSocket, Build: version.Get().String(),
		Objects: m.cfg.Watch.ingress, Addresses: m.cfg.Addresses, Listen: m.cfg.Netns,
		AccessLog: m.cfg.IngressLog,
		Facts:     m.ingressFacts, Found: m.cfg.Watch.found, Served: m.cfg.Watch.served,
	})
	if err != nil {
		return err
	}
	m.ingressPlace, err = ingress.NewRegistration(ingress.RegistrationConfig{
		Client: m.cfg.Watch.ingressClient, Slices: m.cfg.Watch.EndpointSlices(),
		Node: m.cfg.Name, Zone: m.zone, Addresses: m.cfg.Addresses, Process: m.ingress, Logger: m.logger("ingress"),
	})
	return err
}

// ServesIngress tells whether the node's proxy serves an Ingress, or nobody is sent to it.
func (m *Member) ServesIngress(name types.NamespacedName, uid types.UID) bool {
	return m.ingress.Serves(name, uid)
}

func (m *Member) ingressCgroup() host.Cgroup { return m.cfg.Cgroup.Child("ingress") }

// prepareIngress makes what the process needs that serves the ingress.
func (m *Member) prepareIngress() error {
	for _, path := range []string{m.cfg.IngressSocket, m.cfg.IngressLog} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
	}
	return m.ingressCgroup().Create()
}

func (m *Member) ingressFacts() ingress.Facts {
	return ingress.Facts{
		Node: m.cfg.Name, Zone: m.zone(), IPv6First: m.cfg.Addresses[0].Is6(),
		DNS: m.cfg.ClusterDNS, Domain: m.cfg.ClusterDomain,
		Namespace: ingress.Namespace, Pod: ingress.Name + "-" + m.cfg.Name, Options: ingress.DefaultOptions(),
	}
}

// zone is the node's zone as its Node object has it.
func (m *Member) zone() string {
	o, _, _ := m.cfg.Watch.Nodes().Informer().GetStore().GetByKey(m.cfg.Name) // a key of this kind makes no error
	if node, ok := o.(*corev1.Node); ok {
		return node.Labels[corev1.LabelTopologyZone]
	}
	return ""
}

// registerIngress keeps the node's place behind the Service, and has the proxy told
// when the node comes into another zone.
func (m *Member) registerIngress(ctx context.Context) error {
	informer := m.cfg.Watch.Nodes().Informer()
	was := m.zone()
	r, err := informer.AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: func(o any) bool { n, ok := o.(*corev1.Node); return ok && n.Name == m.cfg.Name },
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { m.zoneChanged(&was) }, UpdateFunc: func(any, any) { m.zoneChanged(&was) },
		},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("follow the node's zone: %w", err)
	}
	defer func() { _ = informer.RemoveEventHandler(r) }() // it fails only if the informer has stopped
	return m.ingressPlace.Run(ctx)
}

func (m *Member) zoneChanged(was *string) {
	if is := m.zone(); is != *was {
		*was = is
		m.ingress.Retell()
		m.ingressPlace.Look()
	}
}

// IngressPicture answers questions about what the node's proxy serves.
func (m *Member) IngressPicture() (*ingress.Picture, error) {
	return ingress.NewPicture(m.cfg.Watch.ingress.Current(), m.ingressFacts())
}
