package controlplane

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func validConfig() Config {
	return Config{
		DataDir: "d", RunDir: "r", Listeners: make([]net.Listener, 1),
		Addresses:    []netip.Addr{netip.MustParseAddr("172.30.0.1")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
	}
}

var (
	services6 = netip.MustParsePrefix("fd00:10:96::/112")
	pods6     = netip.MustParsePrefix("fd00:10:244::/56")
)

func TestConfigErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no data", func(c *Config) { c.DataDir = "" }, "DataDir"},
		{"no run directory", func(c *Config) { c.RunDir = "" }, "RunDir"},
		{"no listener", func(c *Config) { c.Listeners = nil }, "Listeners"},
		{"no address", func(c *Config) { c.Addresses = nil }, "Addresses"},
		{"no range", func(c *Config) { c.PodCIDRs = []netip.Prefix{{}} }, "PodCIDRs must be set"},
		{"no Service range", func(c *Config) { c.ServiceCIDRs = nil }, "ServiceCIDRs"},
		{"overlap", func(c *Config) { c.PodCIDRs[0] = netip.MustParsePrefix("10.0.0.0/8") }, "overlaps"},
		{"Pods without IPv6", func(c *Config) { c.ServiceCIDRs = append(c.ServiceCIDRs, services6) }, "one range of each IP family"},
		{"another order", func(c *Config) {
			c.ServiceCIDRs, c.PodCIDRs = append(c.ServiceCIDRs, services6), append([]netip.Prefix{pods6}, c.PodCIDRs...)
		}, "same order"},
		{"twice IPv4", func(c *Config) {
			c.ServiceCIDRs = append(c.ServiceCIDRs, netip.MustParsePrefix("10.97.0.0/16"))
			c.PodCIDRs = append(c.PodCIDRs, netip.MustParsePrefix("10.245.0.0/16"))
		}, "one range of each IP family"},
		{"address of the other family", func(c *Config) {
			c.ServiceCIDRs, c.PodCIDRs = []netip.Prefix{services6}, []netip.Prefix{pods6}
		}, "must be of its IP family"},
	} {
		cfg := validConfig()
		tc.change(&cfg)
		if _, err := withDefaults(cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error that mentions %q", tc.name, err, tc.want)
		}
	}
	cfg := validConfig()
	cfg.RunDir, cfg.EtcdServers = "", []string{"http://192.0.2.1:2379"}
	if _, err := withDefaults(cfg); err != nil {
		t.Errorf("an external etcd needs no run directory: %v", err)
	}
}

func TestServingNames(t *testing.T) {
	cfg := validConfig()
	cfg.ExtraSANs = []string{"harbour.example.org", "192.0.2.7"}
	cfg, err := withDefaults(cfg)
	if err != nil {
		t.Fatal(err)
	}
	dns, addrs, err := servingNames(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kubernetes", "kubernetes.default.svc.cluster.local", "localhost", "harbour.example.org"} {
		if !slices.Contains(dns, want) {
			t.Errorf("names %v lack %s", dns, want)
		}
	}
	want := []string{"10.96.0.1", "172.30.0.1", "127.0.0.1", "192.0.2.7"}
	if got := fmt.Sprint(addrs); got != fmt.Sprint(want) {
		t.Errorf("addresses = %s, want %s", got, want)
	}
	cfg.ServiceCIDRs, cfg.Addresses = append(cfg.ServiceCIDRs, services6), append(cfg.Addresses, netip.MustParseAddr("fd00:172:30::1"))
	if _, addrs, err = servingNames(cfg); err != nil {
		t.Fatal(err)
	}
	want = []string{"10.96.0.1", "fd00:10:96::1", "172.30.0.1", "fd00:172:30::1", "127.0.0.1", "::1", "192.0.2.7"}
	if got := fmt.Sprint(addrs); got != fmt.Sprint(want) {
		t.Errorf("addresses of a dual-stack cluster = %s, want %s", got, want)
	}
}
