package controlplane

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
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
	case !cfg.AdvertiseAddress.IsValid():
		return cfg, errors.New("Config.AdvertiseAddress is not set; use an address other machines and nodes reach the API server at")
	case !cfg.ServiceCIDR.IsValid() || !cfg.PodCIDR.IsValid():
		return cfg, errors.New("Config.ServiceCIDR and Config.PodCIDR must be set")
	case cfg.ServiceCIDR.Overlaps(cfg.PodCIDR):
		return cfg, fmt.Errorf("Config.ServiceCIDR %s overlaps Config.PodCIDR %s; choose disjoint ranges", cfg.ServiceCIDR, cfg.PodCIDR)
	}
	if cfg.Name == "" {
		cfg.Name = "minato"
	}
	if cfg.NodeCIDRMask == 0 {
		cfg.NodeCIDRMask = 24
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
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// servingNames are the names the API server answers to: kubeadm's, and the
// configured ones.
func servingNames(cfg Config) (dns []string, addrs []netip.Addr, err error) {
	service := cfg.ServiceCIDR.Masked().Addr().Next() // upstream gives the first address to itself
	addrs = []netip.Addr{service, cfg.AdvertiseAddress, netip.MustParseAddr("127.0.0.1")}
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
