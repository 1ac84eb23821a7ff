package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"minato/internal/controlplane"
	"minato/internal/dns"
	"minato/internal/dns/zone"
	"minato/internal/host"
	"minato/internal/podnet"
	"minato/internal/runtime/image"
	"minato/internal/service"
)

// shared is what all nodes of the process use together: one watch of each
// kind of object and one content store, however many nodes there are.
type shared struct {
	connect   func(user string, groups ...string) *rest.Config
	client    kubernetes.Interface // for the networking parts
	informers informers.SharedInformerFactory
	services  *service.Informed
	zone      *dns.Store
	dns       *dns.Settings
	images    *image.Store
	router    *podnet.Router // the machine's own way to the Pods
}

// networkUser is the identity of the networking parts.
const networkUser = "system:minato:network"

func newShared(cfg Config, control *controlplane.ControlPlane, log *slog.Logger) (*shared, error) {
	s := &shared{connect: control.RESTConfig}
	var err error
	if s.client, err = kubernetes.NewForConfig(control.RESTConfig(networkUser, "system:masters")); err != nil {
		return nil, fmt.Errorf("connect the networking parts: %w", err)
	}
	s.informers = informers.NewSharedInformerFactory(s.client, 0)
	// Start only starts informers that somebody has asked for by then.
	s.informers.Core().V1().Namespaces().Informer()
	s.informers.Core().V1().Nodes().Informer()
	s.services, err = service.NewInformed(s.informers.Core().V1().Services(), s.informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, err
	}
	s.zone, err = dns.NewStore(dns.StoreConfig{
		Zone: zone.Config{
			Domain:      cfg.ClusterDomain,
			NameServers: cfg.DNSIPs(),
			Owned:       slices.Concat(cfg.ServiceCIDR, cfg.PodCIDR),
		},
		Services:       s.informers.Core().V1().Services(),
		EndpointSlices: s.informers.Discovery().V1().EndpointSlices(),
		Namespaces:     s.informers.Core().V1().Namespaces(),
		Client:         s.client,
		Logger:         log.With("part", "dns"),
	})
	if err != nil {
		return nil, err
	}
	s.dns, err = dns.NewSettings(dns.SettingsConfig{
		Client: s.client, Domain: cfg.ClusterDomain, Zone: s.zone, Logger: log.With("part", "dns"),
	})
	if err != nil {
		return nil, err
	}
	paths := Paths{Name: cfg.Name}
	if s.images, err = image.Open(paths.Store()); err != nil {
		return nil, err
	}
	s.router, err = podnet.NewRouter(podnet.RouterConfig{
		Netns: host.Netns{}, Link: paths.Bridge(), Sources: cfg.Gateways(),
		Nodes:  s.informers.Core().V1().Nodes().Informer(),
		Logger: log.With("part", "podnet"),
	})
	return s, err
}

// run follows the API until ctx ends.
func (s *shared) run(ctx context.Context) error {
	s.informers.Start(ctx.Done())
	defer s.informers.Shutdown()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.zone.Run(ctx) })
	g.Go(func() error { return s.dns.Run(ctx) })
	g.Go(func() error { return s.router.Run(ctx) })
	return g.Wait()
}
