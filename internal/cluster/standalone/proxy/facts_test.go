package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/host"
)

func TestDecideFacts(t *testing.T) {
	machine := []host.LinkAddress{
		link("lo", "127.0.0.2"), link("eth0", "10.0.0.5"), link("eth0", "fd00::5"), link("eth1", "192.168.7.5"), link("cni0", "10.244.1.1"),
	}
	services := []string{"10.96.0.0/16", "fd00:96::/112"}
	for _, c := range []struct {
		name    string
		node    []string // TYPE=ADDRESS
		uplinks []string
		ranges  []string
		want    string
		err     string
	}{
		{"one family", []string{"InternalIP=10.0.0.5"}, nil, services[:1], "[eth0] [10.0.0.5] [10.96.0.0/16]", ""},
		{"both families", []string{"InternalIP=10.0.0.5", "InternalIP=fd00::5"}, nil, services, "[eth0] [10.0.0.5 fd00::5] [10.96.0.0/16 fd00:96::/112]", ""},
		{"a range of a family that the node has not", []string{"InternalIP=10.0.0.5"}, nil, services, "[eth0] [10.0.0.5] [10.96.0.0/16]", ""},
		{"ranges in any order, repeated", []string{"InternalIP=10.0.0.5"}, nil, []string{"10.97.0.0/16", "10.96.0.0/16", "10.97.0.0/16"}, "[eth0] [10.0.0.5] [10.96.0.0/16 10.97.0.0/16]", ""},
		{"internal before external", []string{"ExternalIP=192.168.7.5", "Hostname=n", "InternalIP=10.0.0.5"}, nil, services[:1], "[eth0 eth1] [10.0.0.5] [10.96.0.0/16]", ""},
		{"an internal address that is elsewhere", []string{"InternalIP=100.64.0.1", "ExternalIP=192.168.7.5"}, nil, services[:1], "[eth1] [192.168.7.5] [10.96.0.0/16]", ""},
		{"uplink given", []string{"InternalIP=10.0.0.5"}, []string{"eth1"}, services[:1], "[eth1] [192.168.7.5] [10.96.0.0/16]", ""},
		{"uplinks given, among them the node's", []string{"InternalIP=10.0.0.5"}, []string{"eth1", "eth0"}, services[:1], "[eth1 eth0] [10.0.0.5] [10.96.0.0/16]", ""},
		{"no address of the node here", []string{"InternalIP=100.64.0.1"}, nil, services, "", "--uplink"},
		{"no range", []string{"InternalIP=10.0.0.5"}, nil, nil, "", "--service-cidr"},
		{"no range of the node's family", []string{"InternalIP=10.0.0.5"}, nil, services[1:], "", "--service-cidr"},
		{"no addresses at all", nil, nil, services, "", "no interface has one of the addresses of Node n"},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		for _, a := range c.node {
			kind, address, _ := strings.Cut(a, "=")
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(kind), Address: address})
		}
		var f facts
		found, err := foreign.Choose(node, machine, c.uplinks)
		if err == nil {
			f, err = withRanges(found, prefixes(c.ranges...))
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.err)
			}
			continue
		}
		if got := fmt.Sprint(f.Uplinks, " ", f.IPs, " ", f.services); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestNodePortsAt(t *testing.T) {
	node, ips := addrs("10.0.0.5", "192.168.7.5"), addrs("10.0.0.5")
	for flag, want := range map[string]string{
		"":                           "every address",
		"primary":                    "10.0.0.5 10.0.0.6",
		"192.168.0.0/16":             "192.168.7.5",
		"10.0.0.0/24,192.168.7.0/24": "10.0.0.5 192.168.7.5 10.0.0.6",
		"::/0":                       "",
	} {
		cfg := Config{}
		if flag != "" {
			cfg.NodePortAddresses = strings.Split(flag, ",")
		}
		at, _, err := nodePortsAt(&cfg, node, ips)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range append(node, addrs("10.0.0.6")...) { // the last one is another node's
			if at != nil && at(a) {
				got = append(got, a.String())
			}
		}
		if at == nil {
			got = []string{"every address"}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("--nodeport-addresses %s: %v, want %s", flag, got, want)
		}
	}
	for _, flag := range []string{"primary,10.0.0.0/8", "10.0.0.1", "all"} {
		if _, err := (&Config{NodePortAddresses: strings.Split(flag, ",")}).nodePortRanges(); err == nil {
			t.Errorf("--nodeport-addresses %s is taken", flag)
		}
	}
}

func link(name, address string) host.LinkAddress {
	return host.LinkAddress{Link: name, Address: netip.MustParseAddr(address)}
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}
