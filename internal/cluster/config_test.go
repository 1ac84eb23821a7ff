package cluster

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"minato/internal/host"
)

func TestValidateNamesTheFlagAndTheRemedy(t *testing.T) {
	prefix := netip.MustParsePrefix
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
		{"more nodes than ranges", func(c *Config) { c.PodCIDR = prefix("10.244.0.0/22"); c.Nodes = 4 }, []string{"--pod-cidr", "room for 3 nodes"}},
		{"as many nodes as ranges", func(c *Config) { c.PodCIDR = prefix("10.244.0.0/22"); c.Nodes = 3 }, nil},
		{"port", func(c *Config) { c.APIPort = 65536 }, []string{"--api-port 65536"}},
		{"bits behind the length", func(c *Config) { c.LAN = prefix("172.30.1.0/16") }, []string{"--lan-cidr", "did you mean 172.30.0.0/16"}},
		{"small services", func(c *Config) { c.ServiceCIDR = prefix("10.96.0.0/28") }, []string{"--service-cidr", "/27 or larger"}},
		{"IPv6", func(c *Config) { c.LAN = prefix("fd00::/64") }, []string{"--lan-cidr", "IPv4"}},
		{"overlap", func(c *Config) { c.ServiceCIDR = prefix("10.244.0.0/20") }, []string{"--service-cidr", "--pod-cidr", "overlap"}},
		{"two stores", func(c *Config) { c.Ephemeral = true; c.EtcdServers = []string{"http://127.0.0.1:2379"} }, []string{"--ephemeral", "--etcd-servers"}},
		{"half a certificate", func(c *Config) { c.EtcdCertFile = "cert.pem" }, []string{"--etcd-keyfile"}},
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
	c := DefaultConfig()
	for _, test := range []struct{ what, got, want string }{
		{"gateway", c.Gateway().String(), "172.30.0.1"},
		{"node 1", c.NodeIP(1).String(), "172.30.0.11"},
		{"node 200", c.NodeIP(200).String(), "172.30.0.210"},
		{"Pods of node 1", c.NodePodCIDR(1).String(), "10.244.1.0/24"},
		{"Pods of node 200", c.NodePodCIDR(200).String(), "10.244.200.0/24"},
		{"DNS", c.DNSIP().String(), "10.96.0.10"},
		{"context", c.ContextName(), "minato"},
		{"context of another", Config{Name: "test"}.ContextName(), "minato-test"},
	} {
		if test.got != test.want {
			t.Errorf("%s = %s, want %s", test.what, test.got, test.want)
		}
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
	c := DefaultConfig()
	for _, test := range []struct {
		name string
		used host.Used
		want string // a part of the message, or none
	}{
		{"somebody's network", host.Used{Prefix: prefix("10.244.3.0/24"), Link: "eth1"}, "--pod-cidr 10.244.0.0/16 overlaps 10.244.3.0/24, which this machine uses already (link eth1): choose another range with --pod-cidr"},
		{"a wider network", host.Used{Prefix: prefix("172.16.0.0/12"), Link: "docker0"}, "--lan-cidr"},
		{"a route without a link", host.Used{Prefix: prefix("10.96.0.0/12")}, "--service-cidr 10.96.0.0/16 overlaps 10.96.0.0/12, which this machine uses already (a route)"},
		{"elsewhere", host.Used{Prefix: prefix("192.168.0.0/16"), Link: "eth0"}, ""},
		{"our own bridge", host.Used{Prefix: prefix("10.244.1.0/24"), Link: "mn-minato"}, ""},
		{"our own blackhole", host.Used{Prefix: prefix("10.96.0.0/16")}, ""},
		{"another cluster's bridge", host.Used{Prefix: prefix("172.30.0.0/16"), Link: "mn-test"}, "--lan-cidr"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := overlaps(c, []host.Used{test.used})
			if (err == nil) != (test.want == "") {
				t.Fatalf("overlaps() = %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q does not say %q", err, test.want)
			}
		})
	}
}

func TestSameClusterNamesWhatDiffers(t *testing.T) {
	a, b := DefaultConfig(), DefaultConfig()
	b.Kubeconfig = "/tmp/other" // may change from one `up` to the next
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
