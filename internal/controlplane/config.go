package controlplane

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"minato/internal/controlplane/etcd"
	"minato/internal/loadbalancer/config/metallb"
)

// withDefaults checks cfg and fills in what has a default.
func withDefaults(cfg Config) (Config, error) {
	switch {
	case cfg.DataDir == "":
		return cfg, errors.New("Config.DataDir is empty; name a directory for the cluster's data")
	case cfg.RunDir == "" && len(cfg.EtcdServers) == 0:
		return cfg, errors.New("Config.RunDir is empty; name a directory for etcd's socket, or set EtcdServers")
	case len(cfg.Listeners) == 0:
		return cfg, errors.New("Config.Listeners is empty; open at least one TCP listener")
	}
	if err := checkAddresses(cfg); err != nil {
		return cfg, err
	}
	if cfg.Name == "" {
		cfg.Name = "minato"
	}
	if cfg.NodeCIDRMaskIPv4 == 0 {
		cfg.NodeCIDRMaskIPv4 = 24
	}
	if cfg.NodeCIDRMaskIPv6 == 0 {
		cfg.NodeCIDRMaskIPv6 = 64
	}
	if cfg.NodePortRange.Size == 0 {
		cfg.NodePortRange = utilnet.PortRange{Base: 30000, Size: 2768}
	}
	if cfg.ClusterDomain == "" {
		cfg.ClusterDomain = "cluster.local"
	}
	if cfg.Stage == nil {
		cfg.Stage = func(string, time.Duration) {}
	}
	if cfg.PartFailed == nil {
		cfg.PartFailed = func(string, error) {}
	}
	if cfg.newStore == nil {
		cfg.newStore = func(c etcd.Config) (store, error) { return etcd.New(c) }
	}
	if cfg.definitions == nil {
		cfg.definitions = metallb.CustomResourceDefinitions
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// checkAddresses looks at what has to be there for every IP family.
func checkAddresses(cfg Config) error {
	families := func(prefixes []netip.Prefix) (bits []int) {
		for _, p := range prefixes {
			bits = append(bits, p.Addr().BitLen())
		}
		return bits
	}
	services := families(cfg.ServiceCIDRs)
	switch {
	case len(cfg.Addresses) == 0 || slices.ContainsFunc(cfg.Addresses, func(a netip.Addr) bool { return !a.IsValid() }):
		return errors.New("Config.Addresses is not set; use the addresses other machines and nodes reach the API server at")
	case len(services) == 0 || slices.ContainsFunc(slices.Concat(cfg.ServiceCIDRs, cfg.PodCIDRs), func(p netip.Prefix) bool { return !p.IsValid() }):
		return errors.New("Config.ServiceCIDRs and Config.PodCIDRs must be set")
	case len(services) > 2 || len(services) == 2 && services[0] == services[1] || !slices.Equal(services, families(cfg.PodCIDRs)):
		return fmt.Errorf("Config.ServiceCIDRs %v and Config.PodCIDRs %v must have one range of each IP family, in the same order", cfg.ServiceCIDRs, cfg.PodCIDRs)
	case cfg.Addresses[0].BitLen() != services[0]:
		return fmt.Errorf("Config.Addresses begins with %s and Config.ServiceCIDRs with %s; the endpoint of the kubernetes Service must be of its IP family", cfg.Addresses[0], cfg.ServiceCIDRs[0])
	}
	for i, s := range cfg.ServiceCIDRs {
		if p := cfg.PodCIDRs[i]; s.Overlaps(p) {
			return fmt.Errorf("Config.ServiceCIDRs has %s, which overlaps %s of Config.PodCIDRs; choose disjoint ranges", s, p)
		}
	}
	return nil
}

// servingNames are the names the API server answers to: kubeadm's, and the
// configured ones.
func servingNames(cfg Config) (dns []string, addrs []netip.Addr, err error) {
	for _, r := range cfg.ServiceCIDRs {
		addrs = append(addrs, r.Masked().Addr().Next()) // upstream gives the first address to itself
	}
	addrs = append(addrs, cfg.Addresses...)
	addrs = append(addrs, netip.MustParseAddr("127.0.0.1"))
	if slices.ContainsFunc(cfg.ServiceCIDRs, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		addrs = append(addrs, netip.IPv6Loopback())
	}
	dns = []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + cfg.ClusterDomain, "localhost",
	}
	for _, san := range cfg.ExtraSANs {
		switch addr, parseErr := netip.ParseAddr(san); {
		case san == "":
			return nil, nil, errors.New("Config.ExtraSANs contains an empty name")
		case parseErr == nil:
			addrs = append(addrs, addr)
		default:
			dns = append(dns, san)
		}
	}
	return dns, addrs, nil
}
