package member

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"minato/internal/dns"
	"minato/internal/dns/zone"
	"minato/internal/service"
	"minato/internal/supervise"
)

// Identities of the parts that serve all nodes of a process. What each may do
// is in the ClusterRole of its name.
const (
	watchUser = "system:minato:network"
	dnsUser   = "system:minato:network"
)

// WatchConfig says what is watched.
type WatchConfig struct {
	Connect       Connect
	ClusterDomain string
	ClusterDNS    []netip.Addr
	// Owned are ranges whose reverse names nobody else knows.
	Owned  []netip.Prefix
	Logger *slog.Logger
}

// Watch is what a process knows of the cluster: one watch of each kind of
// object, however many members use it.
type Watch struct {
	Informers informers.SharedInformerFactory

	dnsClient kubernetes.Interface
	services  *service.Informed
	zone      *dns.Store
	settings  *dns.Settings
}

// NewWatch makes the watches; Parts runs them.
func NewWatch(cfg WatchConfig) (*Watch, error) {
	client, err := kubernetes.NewForConfig(cfg.Connect(watchUser, "system:masters"))
	if err != nil {
		return nil, fmt.Errorf("connect the watches of Services: %w", err)
	}
	w := &Watch{Informers: informers.NewSharedInformerFactory(client, 0)}
	if w.dnsClient, err = kubernetes.NewForConfig(cfg.Connect(dnsUser, "system:masters")); err != nil {
		return nil, fmt.Errorf("connect the DNS: %w", err)
	}
	// Start only starts informers that somebody has asked for by then.
	w.Informers.Core().V1().Namespaces().Informer()
	w.Informers.Core().V1().Nodes().Informer()
	w.services, err = service.NewInformed(w.Informers.Core().V1().Services(), w.Informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, err
	}
	log := cfg.Logger.With("part", "dns")
	w.zone, err = dns.NewStore(dns.StoreConfig{
		Zone:           zone.Config{Domain: cfg.ClusterDomain, NameServers: cfg.ClusterDNS, Owned: cfg.Owned},
		Services:       w.Informers.Core().V1().Services(),
		EndpointSlices: w.Informers.Discovery().V1().EndpointSlices(),
		Namespaces:     w.Informers.Core().V1().Namespaces(),
		Client:         w.dnsClient,
		Logger:         log,
	})
	if err != nil {
		return nil, err
	}
	w.settings, err = dns.NewSettings(dns.SettingsConfig{Client: w.dnsClient, Domain: cfg.ClusterDomain, Zone: w.zone, Logger: log})
	return w, err
}

// Parts are what has to run for the watches to follow the cluster.
func (w *Watch) Parts() []supervise.Part {
	return []supervise.Part{
		{Name: "watches", Run: w.follow},
		{Name: "dns-zone", Run: w.zone.Run},
		{Name: "dns-settings", Run: w.settings.Run},
	}
}

func (w *Watch) follow(ctx context.Context) error {
	w.Informers.Start(ctx.Done())
	defer w.Informers.Shutdown()
	<-ctx.Done()
	return nil
}
