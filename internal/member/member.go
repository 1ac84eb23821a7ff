package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"minato/internal/claims"
	"minato/internal/dns"
	"minato/internal/host"
	"minato/internal/ingress"
	"minato/internal/loadbalancer"
	"minato/internal/loadbalancer/bgp"
	agent "minato/internal/node"
	"minato/internal/podnet"
	"minato/internal/runtime/oci"
	"minato/internal/runtime/remote"
	"minato/internal/service"
	"minato/internal/service/metrics"
	"minato/internal/service/route"
	"minato/internal/supervise"
)

// Ports of a node's DNS.
const (
	dnsPort        = 53
	dnsMetricsPort = 9153
)

// Names of the parts whose failures show in a condition of the Node.
const (
	partRuntime  = "runtime"
	partRoutes   = "routes"
	partServices = "services"
	partAnnounce = "load-balancer"
)

// Member is one node.
type Member struct {
	cfg   Config
	parts *supervise.Group

	client      kubernetes.Interface // of the node's own user
	podInformer cache.SharedIndexInformer

	services *service.Node
	announce *loadbalancer.Node
	speaker  *bgp.Process
	ingress  *ingress.Process
	// ingressPlace is the node's place behind the Service of the ingress.
	ingressPlace *ingress.Registration
	pods         *podnet.Network
	ports        *sandboxPorts
	runtime      containerRuntime
	remote       *remote.Runtime // the same, if it is a program of its own
	collecting   sync.Mutex
	collector    *remote.Collector // of remote; nil until it is needed
	files        *host.MountNS     // nil is the machine's
	claims       *claims.Node
	dns          *dns.Node

	agent atomic.Pointer[agent.Agent] // the last one that was started
	began time.Time
	isUp  atomic.Bool
	ready chan struct{} // closed when the Node was Ready for the first time
	once  sync.Once
}

// New checks the configuration. It changes nothing on the machine.
func New(cfg Config) (*Member, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m := &Member{cfg: cfg, began: time.Now(), ready: make(chan struct{})}
	m.parts = supervise.New(supervise.Config{Logger: cfg.Logger, Changed: m.partChanged, Within: m.within})
	var err error
	if m.client, err = kubernetes.NewForConfig(cfg.Connect("system:node:"+cfg.Name, "system:nodes")); err != nil {
		return nil, fmt.Errorf("connect node %s: %w", cfg.Name, err)
	}
	m.podInformer = agent.NewPodInformer(m.client, cfg.Name)
	m.ports = newSandboxPorts(service.NewInformedPods(cfg.Name, m.podInformer))
	m.services, err = service.NewNode(service.NodeConfig{
		Name: cfg.Name, Netns: cfg.Netns, Cgroup: cfg.Cgroup, PinDir: cfg.PinDir,
		Addresses: cfg.Addresses, Uplinks: []string{cfg.Link}, ServiceCIDRs: cfg.ServiceCIDRs,
		Objects: cfg.Watch.indexed, Nodes: cfg.Watch.Nodes(), HostPorts: m.ports,
		OwnPorts: ownPorts(), Events: cfg.Watch.events.NewRecorder(scheme.Scheme, "minato-proxy"),
		HealthAddress: Anywhere(cfg.Addresses, metrics.HealthPort), MetricsAddress: Anywhere(cfg.Addresses, metrics.Port),
		Limits: cfg.Limits,
		Logger: m.logger(partServices),
	})
	if err != nil {
		return nil, err
	}
	if m.speaker, err = m.newSpeaker(); err != nil {
		return nil, err
	}
	if err := m.newIngress(); err != nil {
		return nil, err
	}
	if err := m.newClaims(); err != nil {
		return nil, err
	}
	m.announce, err = loadbalancer.NewNode(loadbalancer.NodeConfig{
		Name: cfg.Name, Netns: cfg.Netns, Uplinks: []string{cfg.Link}, PinDir: filepath.Join(cfg.PinDir, "announce"),
		Addresses: cfg.Addresses, Gateways: cfg.Gateways, Flows: m.services.Data.Flows,
		Objects: cfg.Watch.indexed, Nodes: cfg.Watch.Nodes(), Settings: cfg.Watch.balancing,
		Silent: m.services.Controller.SetSilent, Speaker: m.speaker, Passwords: cfg.Watch.passwords,
		Events: cfg.Watch.announced, Reports: cfg.Watch.reports, Logger: m.logger(partAnnounce),
	})
	if err != nil {
		return nil, err
	}
	m.dns, err = dns.NewNode(m.dnsConfig())
	return m, err
}

// Anywhere is where something listens at all addresses of a node, the loopback
// included, that has addresses of these families.
func Anywhere(addresses []netip.Addr, port uint16) string {
	if slices.ContainsFunc(addresses, netip.Addr.Is6) {
		return at(netip.IPv6Unspecified(), port) // of IPv4 as well
	}
	return at(netip.IPv4Unspecified(), port)
}

// ownPorts are the ports on which a node itself listens, which no hostPort can
// have.
func ownPorts() []route.OwnPort {
	out := []route.OwnPort{{Port: dnsPort, Protocol: corev1.ProtocolUDP}, {Port: loadbalancer.ProbePort, Protocol: corev1.ProtocolUDP}}
	for _, port := range []uint16{dnsPort, dnsMetricsPort, agent.DefaultAPIPort, metrics.Port, metrics.HealthPort, ingress.HTTPPort, ingress.HTTPSPort, ingress.StatusPort} {
		out = append(out, route.OwnPort{Port: port, Protocol: corev1.ProtocolTCP})
	}
	return out
}

func (m *Member) dnsConfig() dns.NodeConfig {
	cfg := m.cfg
	c := dns.NodeConfig{
		Name: cfg.Name, Domain: cfg.ClusterDomain, Netns: cfg.Netns,
		Keeper:     &host.Keeper{Netns: cfg.Netns, Cgroup: cfg.Cgroup.Child("dns"), Program: filepath.Join(cfg.DataDir, "keeper")},
		AwaitNames: true, Store: cfg.Watch.zone, Settings: cfg.Watch.settings, ServiceIPs: cfg.ClusterDNS,
		// Other names are asked for from the machine's own namespace, where its
		// resolver may well be on the loopback interface.
		Upstreams: dns.ResolvConf(cfg.ResolvConf), Search: dns.ResolvSearch(cfg.ResolvConf),
		Limits: cfg.Limits,
		Registration: &dns.RegistrationConfig{
			Client: cfg.Watch.dnsClient, NodeName: cfg.Name, NodeIPs: cfg.Addresses, Port: dnsPort, MetricsPort: dnsMetricsPort,
			ServiceIPs: cfg.ClusterDNS, Ready: cfg.Watch.zone.Ready(), Logger: m.logger("dns"),
		},
		Logger: m.logger("dns"),
	}
	for _, ip := range cfg.Addresses {
		c.Listen = append(c.Listen, at(ip, dnsPort))
		c.Endpoints = append(c.Endpoints, at(ip, dnsMetricsPort))
	}
	return c
}

func at(ip netip.Addr, port uint16) string { return netip.AddrPortFrom(ip, port).String() }

func (m *Member) logger(part string) *slog.Logger { return m.cfg.Logger.With("part", part) }

// Name is the name of the Node object.
func (m *Member) Name() string { return m.cfg.Name }

// Services returns the node's Service data plane, with its controller, health
// checks and metrics.
func (m *Member) Services() *service.Node { return m.services }

// Announcements returns what the node does for Services of type LoadBalancer.
func (m *Member) Announcements() *loadbalancer.Node { return m.announce }

// DNS returns the node's DNS server, with its registration in kube-dns, health
// and metrics.
func (m *Member) DNS() *dns.Node { return m.dns }

// Ready is closed when the Node has been Ready for the first time.
func (m *Member) Ready() <-chan struct{} { return m.ready }

// States are the states of the node's parts; there are none before the node is
// connected.
func (m *Member) States() []supervise.State { return m.parts.States() }

// OutOfMemory tells the node that the kernel has ended a process because the node
// has run out of memory.
func (m *Member) OutOfMemory(process string, pid int) {
	if a := m.agent.Load(); a != nil {
		a.OutOfMemory(process, pid)
	}
}

// ClockWasSet tells the node that the machine's clock was set.
func (m *Member) ClockWasSet() {
	if a := m.agent.Load(); a != nil {
		a.ClockWasSet()
	}
}

// Run makes the node, joins it to the cluster and blocks until ctx ends. It
// fails only where the node can't be made; a part that fails later is started
// again. Containers and forwarding outlive it. It may be called once.
func (m *Member) Run(ctx context.Context) (err error) {
	began := time.Now()
	defer m.close(&err)
	if err := m.open(ctx); err != nil {
		return fmt.Errorf("node %s: %w", m.cfg.Name, err)
	}
	m.cfg.Stage(m.cfg.Name+" namespace, programs", began)
	if m.cfg.wait(ctx) != nil {
		return nil
	}
	routes := podnet.NewRouter(podnet.RouterConfig{
		Netns: m.cfg.Netns, Link: m.cfg.Link, Self: m.cfg.Name, Sources: m.cfg.Addresses,
		Nodes: m.cfg.Watch.Nodes().Informer(), Logger: m.logger(partRoutes),
	})
	m.parts.Run(ctx,
		supervise.Part{Name: "pod-watch", Run: m.watchPods},
		supervise.Part{Name: partRuntime, Run: m.runtime.Run},
		m.criPart(),
		supervise.Part{Name: "cni", Run: m.serveCNI},
		supervise.Part{Name: "agent", Run: m.runAgent},
		supervise.Part{Name: partRoutes, Run: routes.Run},
		supervise.Part{Name: partServices, Run: m.services.Forward},
		supervise.Part{Name: partAnnounce, Run: m.announce.Run},
		supervise.Part{Name: "bgp", Run: m.speaker.Run},
		supervise.Part{Name: "ingress", Run: m.ingress.Run},
		supervise.Part{Name: "ingress-registration", Run: m.registerIngress},
		supervise.Part{Name: "service-checks", Run: m.services.ServeChecks},
		supervise.Part{Name: "service-health", Run: m.services.ServeHealth},
		supervise.Part{Name: "service-metrics", Run: m.services.ServeMetrics},
		supervise.Part{Name: "claims", Run: m.claims.Run},
		supervise.Part{Name: "dns", Run: m.dns.Serve},
		supervise.Part{Name: "dns-metrics", Run: m.dns.ServeEndpoints},
		supervise.Part{Name: "dns-registration", Run: m.dns.Register},
	)
	return nil
}

// close closes what open has opened. eBPF programs, namespaces and Pods stay.
func (m *Member) close(err *error) {
	if m.remote != nil {
		*err = errors.Join(*err, m.remote.Close(context.Background()))
	}
	if m.pods != nil {
		m.pods.Close()
	}
	*err = errors.Join(*err, m.services.Close(), m.files.Close())
}

// open does everything that needs no API server.
func (m *Member) open(ctx context.Context) error {
	cfg := m.cfg
	var err error
	if cfg.Files != nil {
		// The mount namespace comes before everything that is made in the
		// node's directories, because it turns these into mounts.
		files := *cfg.Files
		files.Binds = append(m.ownBinds(), files.Binds...)
		if m.files, err = host.CreateMountNS(files); err != nil {
			return err
		}
	}
	if err := cfg.Cgroup.Create(); err != nil {
		return err
	}
	if err := m.prepareSpeaker(); err != nil {
		return err
	}
	if err := m.prepareIngress(); err != nil {
		return err
	}
	if err := m.services.Open(ctx); err != nil {
		return err
	}
	m.pods, err = podnet.New(podnet.Config{
		Netns: cfg.Netns, NodeIPs: cfg.Addresses, PodCIDRs: cfg.PodCIDRs, MTU: cfg.MTU,
		Dir: filepath.Join(cfg.RunDir, "addresses"), OnAttach: m.services.AttachPod,
	})
	if err != nil {
		return err
	}
	return m.openRest(ctx)
}

func (m *Member) openRest(ctx context.Context) error {
	if err := m.attachOldPods(); err != nil {
		return err
	}
	if err := m.openRuntime(); err != nil {
		return err
	}
	// Queries wait in the sockets until the cluster's names are known. If the
	// sockets can't be opened now, the part that serves them tries again.
	if err := m.dns.Open(ctx); err != nil {
		m.logger("dns").Warn("the sockets of the node's DNS server can't be opened yet", "error", err)
	}
	return nil
}

func (m *Member) watchPods(ctx context.Context) error {
	m.podInformer.RunWithContext(ctx)
	return nil
}

// attachOldPods attaches this process's eBPF programs to the links of Pods that
// an earlier process has started.
func (m *Member) attachOldPods() error {
	links, err := m.pods.Links()
	for _, link := range links {
		err = errors.Join(err, m.services.AttachPod(link))
	}
	return err
}

// Status is a node at one moment.
type Status struct {
	Ready bool
	Pods  int // with an interface of their own
	Parts []supervise.State
}

// Status describes the node.
func (m *Member) Status() Status {
	st := Status{Ready: m.isUp.Load(), Parts: m.States()}
	if st.Ready {
		if links, err := m.pods.Links(); err == nil {
			st.Pods = len(links)
		}
	}
	return st
}

// Program is a program that runs the node's containers.
type Program = oci.Program

// Programs asks the programs that run the node's containers for their versions.
func (m *Member) Programs(ctx context.Context) ([]Program, error) {
	if m.runtime == nil {
		return nil, fmt.Errorf("node %s: the container runtime is not up yet", m.cfg.Name)
	}
	return m.runtime.Programs(ctx)
}

// podNetwork has podnet's methods in the form that the runtime calls.
type podNetwork struct {
	pods  *podnet.Network
	ports *sandboxPorts
}

// Attach gives a sandbox its interface and addresses.
func (p podNetwork) Attach(ctx context.Context, sb oci.SandboxInfo) ([]netip.Addr, error) {
	ips, err := p.pods.Attach(ctx, sb.ID, sb.NetnsPath)
	if err == nil {
		p.ports.attached(sb, ips)
	}
	return ips, err
}

// Detach takes them away.
func (p podNetwork) Detach(ctx context.Context, sb oci.SandboxInfo) error {
	p.ports.detached(sb)
	return p.pods.Detach(ctx, sb.ID)
}
