package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	first := DefaultConfig()
	down := DefaultConfig() // a cluster that is down keeps its ranges
	down.Name, down.LAN, down.PodCIDR, down.APIPort = "down", ranges("172.31.0.0/16"), ranges("10.245.0.0/16"), 6444
	here := taken{clusters: []Config{first, down}, resolvers: []netip.Addr{netip.MustParseAddr("10.97.0.10")}}
	for _, test := range []struct {
		name   string
		taken  taken
		given  Config
		want   string // LAN, Pods, Services
		chosen []string
	}{
		{"the first", taken{}, Config{IPFamily: IPv4}, "172.30.0.0/16 10.244.0.0/16 10.96.0.0/16", nil},
		{"beside others", here, Config{IPFamily: IPv4}, "172.29.0.0/16 10.246.0.0/16 10.98.0.0/16",
			[]string{"--lan-cidr 172.29.0.0/16", "--pod-cidr 10.246.0.0/16", "--service-cidr 10.98.0.0/16"}},
		{"what is given stays, also where it clashes", here, Config{IPFamily: IPv4, PodCIDR: ranges("10.244.0.0/16"), LAN: ranges("192.168.64.0/20")},
			"192.168.64.0/20 10.244.0.0/16 10.98.0.0/16", []string{"--service-cidr 10.98.0.0/16"}},
		{"clear of what is given", taken{}, Config{IPFamily: IPv4, PodCIDR: ranges("10.96.0.0/14"), LAN: ranges("10.244.0.0/16")},
			"10.244.0.0/16 10.96.0.0/14 10.100.0.0/16", []string{"--service-cidr 10.100.0.0/16"}},
		{"dual", here, Config{IPFamily: DualStack}, "172.29.0.0/16,fd00:172:30::/64 10.246.0.0/16,fd00:10:244::/56 10.98.0.0/16,fd00:10:96::/112",
			[]string{"--lan-cidr 172.29.0.0/16,fd00:172:30::/64", "--pod-cidr 10.246.0.0/16,fd00:10:244::/56", "--service-cidr 10.98.0.0/16,fd00:10:96::/112"}},
	} {
		test.given.Name, test.given.Nodes, test.given.APIPort, test.given.ClusterDomain = "new", 3, 6443, "cluster.local"
		c, chosen, err := test.taken.choose(test.given)
		got := fmt.Sprintf("%s %s %s", c.LAN, c.PodCIDR, c.ServiceCIDR)
		if err != nil || got != test.want || !slices.Equal(chosen, test.chosen) {
			t.Errorf("%s: %s, %q, %v; want %s, %q", test.name, got, chosen, err, test.want, test.chosen)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	port, err := here.choosePort(func(port int) bool { return port != 6445 })
	if err != nil || port != 6446 {
		t.Errorf("port %d, %v; want 6446", port, err)
	}
	var setting SettingError
	if _, err := here.choosePort(func(int) bool { return false }); !errors.As(err, &setting) || !strings.Contains(err.Error(), "--api-port") {
		t.Errorf("no port is free: %v", err)
	}
}

// Two starts never choose at the same time.
func TestOneChoosesAtATime(t *testing.T) {
	if err := RequireRoot(); err != nil {
		t.Skip(err)
	}
	unlock, err := lockChoice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, ErrInterrupted)
	defer cancel()
	if _, err := lockChoice(ctx); !errors.Is(err, ErrInterrupted) {
		t.Errorf("while another chooses: %v", err)
	}
	unlock()
	again, err := lockChoice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}
