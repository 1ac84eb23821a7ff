package member

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"

	"minato/internal/controlplane/access"
	"minato/internal/dns"
	"minato/internal/dns/zone"
	"minato/internal/ingress"
	"minato/internal/loadbalancer"
	balancing "minato/internal/loadbalancer/config"
	"minato/internal/service"
	"minato/internal/supervise"
)

// WatchConfig says what is watched.
type WatchConfig struct {
	Connect       Connect
	ClusterDomain string
	ClusterDNS    []netip.Addr
	// Owned are ranges whose reverse names are never asked of upstreams.
	Owned []netip.Prefix
	// Pool are the addresses of the cluster's own pool for Services of type
	// LoadBalancer.
	Pool []balancing.Range
	// Started is closed when the cluster's start is over: until then, nothing is
	// read that the start does not need.
	Started <-chan struct{}
	// Found takes what the nodes' proxies find about Ingresses.
	Found func([]ingress.Findings)
	// Served is called with the Ingresses that a node's proxy has begun to serve.
	Served func([]types.NamespacedName)
	Logger *slog.Logger
}

// Watch has the informers of a process: one watch of each kind of object,
// however many members use it, each as the user of the part that needs it.
type Watch struct {
	services   informers.SharedInformerFactory // and EndpointSlices
	nodes      informers.SharedInformerFactory
	namespaces informers.SharedInformerFactory

	events    events.EventBroadcaster
	dnsClient kubernetes.Interface
	indexed   *service.Informed
	zone      *dns.Store
	settings  *dns.Settings
	balancing *loadbalancer.Settings
	announced *loadbalancer.Recorder
	reports   *loadbalancer.Reports
	pressure  *loadbalancer.Pressure
	passwords loadbalancer.Passwords

	started       <-chan struct{}
	ingresses     informers.SharedInformerFactory // and IngressClasses
	ingressClient kubernetes.Interface
	ingress       *ingress.Objects
	found         func([]ingress.Findings)
	served        func([]types.NamespacedName)

	storage     informers.SharedInformerFactory // claims, PersistentVolumes and StorageClasses
	claimClient kubernetes.Interface
	claimEvents *loadbalancer.Recorder
}

// NewWatch makes the watches; Parts runs them.
func NewWatch(cfg WatchConfig) (*Watch, error) {
	clients := map[string]kubernetes.Interface{}
	for _, user := range []string{access.UserProxy, access.UserPodNetwork, access.UserDNS, access.UserLoadBalancerNode, access.UserIngressNode, access.UserClaimsNode} {
		client, err := kubernetes.NewForConfig(cfg.Connect(user))
		if err != nil {
			return nil, fmt.Errorf("connect %s: %w", user, err)
		}
		clients[user] = client
	}
	w := &Watch{
		services:   informers.NewSharedInformerFactory(clients[access.UserProxy], 0),
		nodes:      informers.NewSharedInformerFactory(clients[access.UserPodNetwork], 0),
		namespaces: informers.NewSharedInformerFactory(clients[access.UserDNS], 0),
		events:     events.NewBroadcaster(&events.EventSinkImpl{Interface: clients[access.UserProxy].EventsV1()}),
		dnsClient:  clients[access.UserDNS],
	}
	// Start only starts informers that somebody has asked for by then.
	w.Nodes().Informer()
	var err error
	w.indexed, err = service.NewInformed(w.Services(), w.services.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, err
	}
	log := cfg.Logger.With("part", "dns")
	w.zone, err = dns.NewStore(dns.StoreConfig{
		Zone:           zone.Config{Domain: cfg.ClusterDomain, NameServers: cfg.ClusterDNS, Owned: cfg.Owned},
		Services:       w.Services(),
		EndpointSlices: w.services.Discovery().V1().EndpointSlices(),
		Namespaces:     w.namespaces.Core().V1().Namespaces(),
		Client:         w.dnsClient,
		Logger:         log,
	})
	if err != nil {
		return nil, err
	}
	w.settings, err = dns.NewSettings(dns.SettingsConfig{Client: w.dnsClient, Domain: cfg.ClusterDomain, Zone: w.zone, Logger: log})
	if err != nil {
		return nil, err
	}
	if err := w.watchIngresses(cfg, clients[access.UserIngressNode]); err != nil {
		return nil, err
	}
	if err := w.watchClaims(cfg, clients[access.UserClaimsNode]); err != nil {
		return nil, err
	}
	return w, w.watchBalancing(cfg, clients[access.UserLoadBalancerNode])
}

// watchBalancing makes what all members need of the configuration of load
// balancing.
func (w *Watch) watchBalancing(cfg WatchConfig, client kubernetes.Interface) error {
	log := cfg.Logger.With("part", partAnnounce)
	w.passwords = loadbalancer.ReadPasswords(client)
	w.pressure = &loadbalancer.Pressure{}
	objects, err := dynamic.NewForConfig(cfg.Connect(access.UserLoadBalancerNode))
	if err != nil {
		return fmt.Errorf("connect %s: %w", access.UserLoadBalancerNode, err)
	}
	w.balancing, err = loadbalancer.NewSettings(loadbalancer.SettingsConfig{Client: client, Dynamic: objects, Default: cfg.Pool, Logger: log})
	if err != nil {
		return err
	}
	w.reports, err = loadbalancer.NewReports(loadbalancer.ReportsConfig{Dynamic: objects, Pressure: w.pressure, Logger: log})
	if err != nil {
		return err
	}
	w.announced, err = loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client, Pressure: w.pressure, Logger: log})
	return err
}

// Parts are what has to run for the watches to follow the cluster.
func (w *Watch) Parts() []supervise.Part {
	return []supervise.Part{
		{Name: "watches", Run: w.follow},
		{Name: "events", Run: w.recordEvents},
		{Name: "dns-zone", Run: w.zone.Run},
		{Name: "dns-settings", Run: w.settings.Run},
		{Name: "ingress-objects", Run: w.followIngresses},
		{Name: "claim-objects", Run: w.followClaims},
		{Name: "claim-events", Run: w.claimEvents.Run},
		{Name: "load-balancer-settings", Run: w.balancing.Run},
		{Name: "load-balancer-events", Run: w.announced.Run},
		{Name: "load-balancer-reports", Run: w.reports.Run},
	}
}

// Services are the cluster's.
func (w *Watch) Services() coreinformers.ServiceInformer { return w.services.Core().V1().Services() }

// Namespaces are the cluster's.
func (w *Watch) Namespaces() coreinformers.NamespaceInformer {
	return w.namespaces.Core().V1().Namespaces()
}

// Balancing is the configuration of load balancing.
func (w *Watch) Balancing() *loadbalancer.Settings { return w.balancing }

// BalancingPressure is what events and reports of load balancing give way to.
func (w *Watch) BalancingPressure() *loadbalancer.Pressure { return w.pressure }

// Nodes are the cluster's.
func (w *Watch) Nodes() coreinformers.NodeInformer { return w.nodes.Core().V1().Nodes() }

func (w *Watch) follow(ctx context.Context) error {
	for _, f := range []informers.SharedInformerFactory{w.services, w.nodes, w.namespaces} {
		f.Start(ctx.Done())
		defer f.Shutdown()
	}
	<-ctx.Done()
	return nil
}

func (w *Watch) recordEvents(ctx context.Context) error {
	defer w.events.Shutdown()
	if err := w.events.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	<-ctx.Done()
	return nil
}
