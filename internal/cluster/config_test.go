package cluster

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"minato/internal/controlplane/access"
	"minato/internal/host"
)

func TestTheFirstNodeIsTheControlPlanes(t *testing.T) {
	if NodeName(1) != access.ControlPlaneNode {
		t.Errorf("the first node is %s, and the roles in package access are about %s", NodeName(1), access.ControlPlaneNode)
	}
}

func TestValidateNamesTheFlagAndTheRemedy(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   []string // parts of the message; none for a valid configuration
	}{
		{"defaults", func(*Config) {}, nil},
		{"one letter", func(c *Config) { c.Name = "a" }, nil},
		{"capital", func(c *Config) { c.Name = "Test" }, []string{`--name "Test"`, "a-z"}},
		{"long name", func(c *Config) { c.Name = "abcdefghijk" }, []string{"--name", "1 to 10"}},
		{"ends with a dash", func(c *Config) { c.Name = "a-" }, []string{"--name"}},
		{"no nodes", func(c *Config) { c.Nodes = 0 }, []string{"--nodes 0", "from 1 to 200"}},
		{"more nodes than ranges", func(c *Config) { c.PodCIDR = ranges("10.244.0.0/22"); c.Nodes = 4 }, []string{"--pod-cidr", "room for 3 nodes"}},
		{"as many nodes as ranges", func(c *Config) { c.PodCIDR = ranges("10.244.0.0/22"); c.Nodes = 3 }, nil},
		{"port", func(c *Config) { c.APIPort = 65536 }, []string{"--api-port 65536"}},
		{"bits behind the length", func(c *Config) { c.LAN = ranges("172.30.1.0/16") }, []string{"--lan-cidr", "did you mean 172.30.0.0/16"}},
		{"small services", func(c *Config) { c.ServiceCIDR = ranges("10.96.0.0/28") }, []string{"--service-cidr", "/27 or larger"}},
		{"overlap", func(c *Config) { c.ServiceCIDR = ranges("10.244.0.0/20") }, []string{"--service-cidr", "--pod-cidr", "overlap"}},
		{"two stores", func(c *Config) { c.Ephemeral = true; c.EtcdServers = []string{"http://127.0.0.1:2379"} }, []string{"--ephemeral", "--etcd-servers"}},
		{"half a certificate", func(c *Config) { c.EtcdCertFile = "cert.pem" }, []string{"--etcd-keyfile"}},
		{"a Pod's own sysctls", func(c *Config) { c.AllowedUnsafeSysctls = []string{"kernel.msg*", "net.core.somaxconn", "fs.mqueue.*"} }, nil},
		{"the machine's sysctl", func(c *Config) { c.AllowedUnsafeSysctls = []string{"kernel.core_pattern"} }, []string{"--allowed-unsafe-sysctls kernel.core_pattern", "net.*"}},
		{"a pool of one's own", func(c *Config) { c.LoadBalancerRange = "192.0.2.0/28,172.30.201.1-172.30.201.9" }, nil},
		{"no pool", func(c *Config) { c.LoadBalancerRange = "none" }, nil},
		{"inverted pool", func(c *Config) { c.LoadBalancerRange = "192.0.2.9-192.0.2.1" }, []string{"--load-balancer-range", "lower address first"}},
		{"pool twice", func(c *Config) { c.LoadBalancerRange = "192.0.2.0/28,192.0.2.8/32" }, []string{"--load-balancer-range", "overlaps"}},
		{"pool of another family", func(c *Config) { c.LoadBalancerRange = "fd00::/120" }, []string{"--load-balancer-range", "--ip-family"}},
		{"pool of nodes", func(c *Config) { c.LoadBalancerRange = "172.30.0.0/24" }, []string{"--load-balancer-range", "172.30.0.13"}},
		{"pool of Pods", func(c *Config) { c.LoadBalancerRange = "10.244.7.0/24" }, []string{"--load-balancer-range", "10.244.0.0/16"}},
		{"domain", func(c *Config) { c.ClusterDomain = "" }, []string{"--cluster-domain"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := DefaultConfig()
			test.change(&c)
			err := c.Validate()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("Validate() = %v", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	four := DefaultConfig()
	dual, six := families(DualStack), families(IPv6)
	for _, test := range []struct {
		what string
		got  any
		want string
	}{
		{"machine", four.Gateways(), "[172.30.0.1]"},
		{"machine, dual", dual.Gateways(), "[172.30.0.1 fd00:172:30::1]"},
		{"node 1", dual.NodeIPs(1), "[172.30.0.11 fd00:172:30::b]"},
		{"node 200", dual.NodeIPs(200), "[172.30.0.210 fd00:172:30::d2]"},
		{"Pods of node 1", four.NodePodCIDRs(1), "[10.244.1.0/24]"},
		{"Pods of node 1, dual", dual.NodePodCIDRs(1), "[10.244.1.0/24 fd00:10:244:1::/64]"},
		{"Pods of node 200, IPv6", six.NodePodCIDRs(200), "[fd00:10:244:c8::/64]"},
		{"DNS", dual.DNSIPs(), "[10.96.0.10 fd00:10:96::a]"},
		{"API server", dual.Server(), "https://127.0.0.1:6443"},
		{"API server, IPv6", six.Server(), "https://[::1]:6443"},
		{"context", four.ContextName(), "minato"},
		{"context of another", Config{Name: "test"}.ContextName(), "minato-test"},
	} {
		if got := fmt.Sprint(test.got); got != test.want {
			t.Errorf("%s = %s, want %s", test.what, got, test.want)
		}
	}
	// More than one byte of the address changes.
	wide := families(IPv6)
	wide.PodCIDR = ranges("fd00:10:244:ff00::/48")
	wide.PodCIDR[0] = wide.PodCIDR[0].Masked()
	if got := fmt.Sprint(nth(netip.MustParseAddr("10.244.255.0"), 3, 24), wide.NodePodCIDRs(200)); got != "10.245.2.0 [fd00:10:244:c8::/64]" {
		t.Errorf("carried over = %s", got)
	}
}

// families is the default configuration of a cluster with other IP families.
func families(f IPFamily) Config {
	c := DefaultConfig()
	c.IPFamily, c.LAN, c.PodCIDR, c.ServiceCIDR = f, nil, nil, nil
	return c.WithDefaultRanges()
}

func ranges(text string) (r Ranges) {
	if err := r.Set(text); err != nil {
		panic(err)
	}
	return r
}

func TestValidateFamilies(t *testing.T) {
	for _, test := range []struct {
		name   string
		family IPFamily
		change func(*Config)
		want   []string // parts of the message; none for a valid configuration
	}{
		{"IPv6", IPv6, func(*Config) {}, nil},
		{"dual", DualStack, func(*Config) {}, nil},
		{"no family", "ipv5", func(*Config) {}, []string{"--ip-family ipv5", "ipv4, ipv6 or dual"}},
		{"IPv6 range of an IPv4 cluster", IPv4, func(c *Config) { c.LAN = ranges("fd00::/64") }, []string{"--lan-cidr fd00::/64", "one IPv4 range such as 172.30.0.0/16", "--ip-family than ipv4"}},
		{"two ranges of an IPv4 cluster", IPv4, func(c *Config) { c.PodCIDR = ranges("10.244.0.0/16,fd00:10:244::/56") }, []string{"--pod-cidr 10.244.0.0/16,fd00:10:244::/56", "one IPv4 range"}},
		{"IPv4 range of an IPv6 cluster", IPv6, func(c *Config) { c.ServiceCIDR = ranges("10.96.0.0/16") }, []string{"--service-cidr", "one IPv6 range such as fd00:10:96::/112"}},
		{"one range of a dual cluster", DualStack, func(c *Config) { c.PodCIDR = ranges("10.245.0.0/16") }, []string{"--pod-cidr", "an IPv4 range and an IPv6 range such as 10.244.0.0/16,fd00:10:244::/56"}},
		{"three ranges", DualStack, func(c *Config) { c.LAN = append(c.LAN, c.LAN[0]) }, []string{"--lan-cidr", "an IPv4 range and an IPv6 range"}},
		{"twice IPv4", DualStack, func(c *Config) { c.LAN[1] = ranges("172.31.0.0/16")[0] }, []string{"--lan-cidr"}},
		{"IPv6 first", DualStack, func(c *Config) { c.LAN = ranges("fd00:172:30::/64,172.30.0.0/16") }, []string{"--lan-cidr", "primary", "172.30.0.0/16,fd00:172:30::/64"}},
		{"mapped", IPv6, func(c *Config) { c.LAN = ranges("::ffff:172.30.0.0/112") }, []string{"--lan-cidr", "one IPv6 range"}},
		{"bits behind the length", DualStack, func(c *Config) { c.PodCIDR[1] = ranges("fd00:10:244::1/56")[0] }, []string{"--pod-cidr fd00:10:244::1/56", "did you mean fd00:10:244::/56"}},
		{"Services too many", IPv6, func(c *Config) { c.ServiceCIDR = ranges("fd00:10:96::/107") }, []string{"--service-cidr fd00:10:96::/107", "too large", "/108"}},
		{"as many Services as can be", IPv6, func(c *Config) { c.ServiceCIDR = ranges("fd00:10:96::/108") }, nil},
		{"Services too few", IPv6, func(c *Config) { c.ServiceCIDR = ranges("fd00:10:96::/124") }, []string{"--service-cidr", "too small", "/123"}},
		{"Pod range too large", IPv6, func(c *Config) { c.PodCIDR = ranges("fd00::/47") }, []string{"--pod-cidr", "too large", "/48"}},
		{"largest Pod range", IPv6, func(c *Config) { c.PodCIDR = ranges("fd00:10:244::/48") }, nil},
		{"Pod range too small", DualStack, func(c *Config) { c.PodCIDR[1] = ranges("fd00:10:244::/63")[0] }, []string{"--pod-cidr fd00:10:244::/63", "room for 1 nodes with a /64"}},
		{"LAN too small", IPv6, func(c *Config) { c.LAN = ranges("fd00:172:30::/121") }, []string{"--lan-cidr", "/120"}},
		{"overlap of one family", DualStack, func(c *Config) { c.ServiceCIDR[1] = ranges("fd00:10:244::/112")[0] }, []string{"--service-cidr fd00:10:244::/112 overlaps --pod-cidr fd00:10:244::/56"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := families(test.family)
			test.change(&c)
			err := c.Validate()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("Validate() = %v", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// A configuration reads back as it was written, and one without an IP family is
// of IPv4.
func TestRangesInTheFile(t *testing.T) {
	for _, want := range []Config{DefaultConfig(), families(DualStack), families(IPv6)} {
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Config
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if err := sameCluster(want, got); err != nil {
			t.Error(err)
		}
	}
	data, err := json.Marshal(families(DualStack))
	if err != nil || !strings.Contains(string(data), `"podCIDR":"10.244.0.0/16,fd00:10:244::/56"`) {
		t.Errorf("in the file: %s, %v", data, err)
	}
	if err := new(Ranges).Set("10.244.0.0/16;fd00::/56"); err == nil || !strings.Contains(err.Error(), "comma") {
		t.Errorf("a bad list: %v", err)
	}
}

// Names of links must fit into the kernel's 15 bytes for any valid name.
func TestLinkNamesFit(t *testing.T) {
	c := DefaultConfig()
	c.Name, c.Nodes = "abcdefghij", maxNodes
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	l := lan{cfg: c, paths: Paths{Name: c.Name}}
	for _, name := range []string{l.port(maxNodes), l.paths.Bridge()} {
		if len(name) > 15 {
			t.Errorf("link name %q has %d bytes", name, len(name))
		}
	}
}

func TestOverlapsWithTheMachine(t *testing.T) {
	prefix := netip.MustParsePrefix
	c := families(DualStack)
	for _, test := range []struct {
		name string
		used host.Used
		want string // a part of the message, or none
	}{
		{"somebody's network", host.Used{Prefix: prefix("10.244.3.0/24"), Link: "eth1"}, "--pod-cidr 10.244.0.0/16 overlaps 10.244.3.0/24, which this machine uses already (link eth1): leave --pod-cidr out, and `up` takes a free range; --pod-cidr 10.245.0.0/16 is free"},
		{"a wider network", host.Used{Prefix: prefix("172.16.0.0/12"), Link: "docker0"}, "--lan-cidr"},
		{"a route without a link", host.Used{Prefix: prefix("10.96.0.0/12")}, "--service-cidr 10.96.0.0/16 overlaps 10.96.0.0/12, which this machine uses already (a route)"},
		{"elsewhere", host.Used{Prefix: prefix("192.168.0.0/16"), Link: "eth0"}, ""},
		{"our own bridge", host.Used{Prefix: prefix("10.244.1.0/24"), Link: "mn-minato"}, ""},
		{"our own blackhole", host.Used{Prefix: prefix("10.96.0.0/16")}, ""},
		{"another cluster's bridge", host.Used{Prefix: prefix("172.30.0.0/16"), Link: "mn-test"}, "--lan-cidr"},
		{"somebody's IPv6 network", host.Used{Prefix: prefix("fd00::/16"), Link: "eth1"}, "--lan-cidr fd00:172:30::/64 overlaps fd00::/16, which this machine uses already (link eth1)"},
		{"our own IPv6 blackhole", host.Used{Prefix: prefix("fd00:10:96::/112")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := taken{machine: []host.Used{test.used}}.clashes(c, false)
			if (len(found) == 0) != (test.want == "") {
				t.Fatalf("clashes() = %v", found)
			}
			if len(found) > 0 && !strings.Contains(found[0].Error(), test.want) {
				t.Errorf("%q does not say %q", found[0], test.want)
			}
		})
	}
}

func TestSameClusterNamesWhatDiffers(t *testing.T) {
	a, b := DefaultConfig(), DefaultConfig()
	b.Kubeconfig, b.OldAPIs, b.Registries.Config = "/tmp/other", false, "/etc/certs.d" // may change from one `up` to the next
	if err := sameCluster(a, b); err != nil {
		t.Errorf("same settings: %v", err)
	}
	b.Nodes = 5
	err := sameCluster(a, b)
	if err == nil || !strings.Contains(err.Error(), "Nodes is 3, asked for 5") || !strings.Contains(err.Error(), "minato delete") {
		t.Errorf("other settings: %v", err)
	}
}

func TestCheckEtcd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	here, dead := "http://"+l.Addr().String(), "http://"+gone.Addr().String()
	for _, test := range []struct {
		endpoints []string
		want      string
	}{
		{nil, ""},
		{[]string{here}, ""},
		{[]string{dead, here}, ""},
		{[]string{dead}, "--etcd-servers " + dead + " does not answer"},
		{[]string{"127.0.0.1:2379"}, "give URLs such as"},
	} {
		err := checkEtcd(t.Context(), test.endpoints)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("checkEtcd(%q) = %v, want %q", test.endpoints, err, test.want)
		}
	}
}
