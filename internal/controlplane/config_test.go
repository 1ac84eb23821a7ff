package controlplane

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func validConfig() Config {
	return Config{
		DataDir: "d", RunDir: "r", Listeners: make([]net.Listener, 1),
		AdvertiseAddress: netip.MustParseAddr("172.30.0.1"),
		ServiceCIDR:      netip.MustParsePrefix("10.96.0.0/16"),
		PodCIDR:          netip.MustParsePrefix("10.244.0.0/16"),
	}
}

func TestConfigErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no data", func(c *Config) { c.DataDir = "" }, "DataDir"},
		{"no run directory", func(c *Config) { c.RunDir = "" }, "RunDir"},
		{"no listener", func(c *Config) { c.Listeners = nil }, "Listeners"},
		{"no address", func(c *Config) { c.AdvertiseAddress = netip.Addr{} }, "AdvertiseAddress"},
		{"no range", func(c *Config) { c.PodCIDR = netip.Prefix{} }, "PodCIDR"},
		{"overlap", func(c *Config) { c.PodCIDR = netip.MustParsePrefix("10.0.0.0/8") }, "overlaps"},
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
	for _, want := range []string{"10.96.0.1", "172.30.0.1", "127.0.0.1", "192.0.2.7"} {
		if !slices.Contains(addrs, netip.MustParseAddr(want)) {
			t.Errorf("addresses %v lack %s", addrs, want)
		}
	}
}
