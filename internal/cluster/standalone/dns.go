// Package standalone wires single parts of Minato to a cluster that something
// else runs. It knows nothing of clusters of our own, so that a program made of
// it alone stays small. It may import features, host and client-go.
package standalone

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/dns"
	"minato/internal/dns/zone"
)

// DNSConfig is the cluster DNS alone, for a cluster that something else runs.
type DNSConfig struct {
	// Kubeconfig is the file to connect to the API server with; empty means the
	// Pod's service account.
	Kubeconfig string
	Domain     string
	// Listen are the addresses to answer on; Health, Ready and Metrics those of
	// the HTTP endpoints, empty for none.
	Listen                 []string
	Health, Ready, Metrics string
	// Upstreams resolve other names; without any, those of ResolvConf do.
	Upstreams  []netip.AddrPort
	ResolvConf string
	// ServiceIPs are the cluster DNS addresses; never asked as upstreams.
	ServiceIPs []netip.Addr
	// Owned are ranges whose reverse names are never asked of upstreams.
	Owned []netip.Prefix
	// Lameduck is how long the server goes on answering after it was told to
	// stop.
	Lameduck time.Duration
	Debug    bool
}

// AddFlags binds the configuration to flags.
func (cfg *DNSConfig) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; without it, the Pod's service account")
	f.StringVar(&cfg.Domain, "domain", "cluster.local", "the cluster's domain")
	f.StringSliceVar(&cfg.Listen, "listen", []string{":53"}, "addresses to answer on, over UDP and TCP")
	f.StringVar(&cfg.Health, "health", ":8080", "address of /health, empty for none")
	f.StringVar(&cfg.Ready, "ready", ":8181", "address of /ready, empty for none")
	f.StringVar(&cfg.Metrics, "metrics", ":9153", "address of /metrics, empty for none")
	f.StringVar(&cfg.ResolvConf, "resolv-conf", "/etc/resolv.conf", "file with the resolvers for names outside of the cluster")
	f.Func("upstream", "ADDRESS:PORT of a resolver for those names, in place of resolv.conf's (repeatable)", func(text string) error {
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return errors.New("give an address and a port such as 192.0.2.1:53 or [2001:db8::1]:53")
		}
		cfg.Upstreams = append(cfg.Upstreams, ap)
		return nil
	})
	f.Func("service-ip", "address of the kube-dns Service, which is the name server in NS and SOA records (repeatable)", func(text string) error {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return errors.New("give an address such as 10.96.0.10")
		}
		cfg.ServiceIPs = append(cfg.ServiceIPs, ip)
		return nil
	})
	f.Func("owned", "range whose reverse names are the cluster's alone, such as the Services' (repeatable)", func(text string) error {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return errors.New("give a range such as 10.96.0.0/16")
		}
		cfg.Owned = append(cfg.Owned, p)
		return nil
	})
	f.DurationVar(&cfg.Lameduck, "lameduck", 0, "how long to go on answering, no longer ready, when told to stop")
	f.BoolVar(&cfg.Debug, "debug", false, "log what is of interest only when something is wrong")
}

// gcPercent trades time for memory: most questions are answered without
// allocating anything, so the collector has little to do.
const gcPercent = 40

// RunDNS answers until it is told to end, and for cfg.Lameduck from then on.
func RunDNS(told context.Context, cfg DNSConfig) error {
	debug.SetGCPercent(gcPercent)
	level := slog.LevelInfo
	if cfg.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	client, err := dnsClient(cfg.Kubeconfig, log)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(keepForDNS))
	store, err := dns.NewStore(dns.StoreConfig{
		Zone:           zone.Config{Domain: cfg.Domain, NameServers: cfg.ServiceIPs, Owned: cfg.Owned},
		Services:       factory.Core().V1().Services(),
		EndpointSlices: factory.Discovery().V1().EndpointSlices(),
		Namespaces:     factory.Core().V1().Namespaces(),
		Client:         client,
		Logger:         log,
	})
	if err != nil {
		return err
	}
	settings, err := dns.NewSettings(dns.SettingsConfig{Client: client, Domain: cfg.Domain, Zone: store, Logger: log})
	if err != nil {
		return err
	}
	node, err := dns.NewNode(cfg.node(store, settings, log))
	if err != nil {
		return err
	}
	// The ports are opened first, so that one in use is reported before
	// anything is read.
	if err := node.Open(told); err != nil {
		return err
	}
	// The store, the informers and the metrics run for as long as the server
	// does.
	ctx, end := context.WithCancel(context.WithoutCancel(told))
	defer factory.Shutdown()
	defer end()
	factory.Start(ctx.Done())
	g, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(told)
	defer context.AfterFunc(ctx, stop)()
	g.Go(func() error {
		defer end()
		return node.Serve(serving)
	})
	g.Go(func() error { return store.Run(ctx) })
	g.Go(func() error { return settings.Run(ctx) })
	g.Go(func() error { return node.ServeEndpoints(ctx) })
	g.Go(func() error {
		select {
		case <-store.Ready():
			debug.FreeOSMemory() // reading everything once took far more than keeping it does
		case <-ctx.Done():
		}
		return nil
	})
	return g.Wait()
}

// node is the configuration of the DNS of one node, which is all that this
// process serves.
func (cfg DNSConfig) node(store *dns.Store, settings *dns.Settings, log *slog.Logger) dns.NodeConfig {
	c := dns.NodeConfig{
		Domain: cfg.Domain, Listen: cfg.Listen,
		Store: store, Settings: settings, ServiceIPs: cfg.ServiceIPs,
		Upstreams: dns.ResolvConf(cfg.ResolvConf), Search: dns.ResolvSearch(cfg.ResolvConf), Lameduck: cfg.Lameduck,
		Collectors: []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})},
		Logger:     log,
	}
	if len(cfg.Upstreams) > 0 {
		c.Upstreams = dns.StaticUpstreams(cfg.Upstreams...)
	}
	for _, address := range []string{cfg.Health, cfg.Ready, cfg.Metrics} {
		if address != "" && !slices.Contains(c.Endpoints, address) {
			c.Endpoints = append(c.Endpoints, address)
		}
	}
	return c
}

func dnsClient(kubeconfig string, log *slog.Logger) (kubernetes.Interface, error) {
	connection := foreign.Connection{Kubeconfig: kubeconfig}
	c, err := connection.Config("minato-dns", "the cluster whose names are answered")
	if err != nil {
		return nil, err
	}
	c.Wrap(foreign.Patient(log))
	return kubernetes.NewForConfig(c)
}

// keepForDNS is a transform for informers: it drops the fields of an object
// that the zone is not made from, so that the informers' stores stay small.
func keepForDNS(obj any) (any, error) {
	meta := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	}
	switch o := obj.(type) {
	case *corev1.Service:
		return &corev1.Service{ObjectMeta: meta(o.ObjectMeta), Spec: corev1.ServiceSpec{
			Type: o.Spec.Type, ClusterIP: o.Spec.ClusterIP, ClusterIPs: o.Spec.ClusterIPs, ExternalName: o.Spec.ExternalName, Ports: o.Spec.Ports,
		}}, nil
	case *discoveryv1.EndpointSlice:
		out := &discoveryv1.EndpointSlice{ObjectMeta: meta(o.ObjectMeta), AddressType: o.AddressType, Ports: o.Ports}
		if name, ok := o.Labels[discoveryv1.LabelServiceName]; ok {
			out.Labels = map[string]string{discoveryv1.LabelServiceName: name}
		}
		for _, e := range o.Endpoints {
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: e.Addresses, Hostname: e.Hostname, Conditions: discoveryv1.EndpointConditions{Ready: e.Conditions.Ready}})
		}
		return out, nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: meta(o.ObjectMeta)}, nil
	}
	return obj, nil
}
