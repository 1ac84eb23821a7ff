package spec

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestResolvConf(t *testing.T) {
	node := "# made by hand\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch old.example\nsearch lan.example. . cluster.local\noptions ndots:2 rotate\noptions ndots:3\n"
	r := Resolver{Servers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Domain: "cluster.local", Node: ParseResolvConf(node)}
	two := "2"
	for _, c := range []struct {
		name                    string
		spec                    v1.PodSpec
		servers, search, option string
	}{
		{"cluster first", v1.PodSpec{DNSPolicy: v1.DNSClusterFirst}, "10.96.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local lan.example", "ndots:5"},
		{"cluster first on the node's network", v1.PodSpec{DNSPolicy: v1.DNSClusterFirst, HostNetwork: true}, "192.0.2.1 192.0.2.2", "lan.example cluster.local", "ndots:3 rotate"},
		{"cluster first with host net", v1.PodSpec{DNSPolicy: v1.DNSClusterFirstWithHostNet, HostNetwork: true}, "10.96.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local lan.example", "ndots:5"},
		{"default", v1.PodSpec{DNSPolicy: v1.DNSDefault}, "192.0.2.1 192.0.2.2", "lan.example cluster.local", "ndots:3 rotate"},
		{"none", v1.PodSpec{DNSPolicy: v1.DNSNone, DNSConfig: &v1.PodDNSConfig{Nameservers: []string{"192.0.2.9"}}}, "192.0.2.9", "", ""},
		{
			"merged",
			v1.PodSpec{DNSPolicy: v1.DNSClusterFirst, DNSConfig: &v1.PodDNSConfig{
				Nameservers: []string{"192.0.2.9", "10.96.0.10"}, Searches: []string{"cluster.local", "own.example"},
				Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}},
			}},
			"10.96.0.10 192.0.2.9", "ns.svc.cluster.local svc.cluster.local cluster.local lan.example own.example", "ndots:2 edns0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, warnings := r.DNS(&v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: c.spec})
			have := []string{strings.Join(got.Servers, " "), strings.Join(got.Searches, " "), strings.Join(got.Options, " ")}
			if d := cmp.Diff([]string{c.servers, c.search, c.option}, have); d != "" || len(warnings) > 0 {
				t.Errorf("%s, warnings %q", d, warnings)
			}
		})
	}
	if d := cmp.Diff([]string{"192.0.2.1", "192.0.2.2"}, r.Node.Servers); d != "" {
		t.Errorf("the node's own configuration was changed: %s", d)
	}
}

func TestResolvConfLimits(t *testing.T) {
	var long []string
	for i := range 40 {
		long = append(long, fmt.Sprintf("d%d.example", i))
	}
	r := Resolver{}
	got, warnings := r.DNS(&v1.Pod{Spec: v1.PodSpec{DNSPolicy: v1.DNSNone, DNSConfig: &v1.PodDNSConfig{
		Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}, Searches: append(long, strings.Repeat("x", 300)),
	}}})
	if len(got.Servers) != 3 || len(got.Searches) != 32 || len(warnings) != 2 {
		t.Errorf("%d servers, %d searches, warnings %q", len(got.Servers), len(got.Searches), warnings)
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nsearch a b\noptions x:1\n")
	f.Add("nameserver\nsearch\noptions\n;\n#")
	f.Fuzz(func(t *testing.T, text string) {
		c := ParseResolvConf(text)
		for _, list := range [][]string{c.Servers, c.Searches, c.Options} {
			for _, s := range list {
				if strings.ContainsAny(s, "\n\t ") {
					t.Errorf("%q holds white space", s)
				}
			}
		}
	})
}

func TestHostsFile(t *testing.T) {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-0"}, Spec: v1.PodSpec{
		Subdomain:   "sample-headless",
		HostAliases: []v1.HostAlias{{IP: "192.0.2.1", Hostnames: []string{"a", "b"}}},
	}}
	want := "# Kubernetes-managed hosts file.\n" + localEntries +
		"10.244.1.2\tweb-0.sample-headless.ns.svc.cluster.local\tweb-0\n" +
		"fd00:10:244:1::2\tweb-0.sample-headless.ns.svc.cluster.local\tweb-0\n" +
		"\n# Entries added by HostAliases.\n192.0.2.1\ta\tb\n"
	if d := cmp.Diff(want, HostsFile(pod, []string{"10.244.1.2", "fd00:10:244:1::2"}, "cluster.local", "ignored")); d != "" {
		t.Error(d)
	}
	pod.Spec = v1.PodSpec{HostNetwork: true}
	if got := HostsFile(pod, nil, "", "192.0.2.7\tnode\n"); got != "# Kubernetes-managed hosts file (host network).\n192.0.2.7\tnode\n" {
		t.Errorf("hosts file on the node's network = %q", got)
	}
}

func TestHostnames(t *testing.T) {
	yes, other := true, "other.example"
	for _, c := range []struct {
		name   string
		pod    v1.Pod
		kernel string
	}{
		{"pod name", v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, "web"},
		{"own name", v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1.PodSpec{Hostname: "own"}}, "own"},
		{"fqdn", v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns"}, Spec: v1.PodSpec{Subdomain: "sub", SetHostnameAsFQDN: &yes}}, "web.sub.ns.svc.cluster.local"},
		{"override", v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1.PodSpec{HostnameOverride: &other}}, "other.example"},
		{"too long", v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("a", 62) + "-" + "bcd"}}, strings.Repeat("a", 62)},
	} {
		got, err := kernelHostname(&c.pod, "cluster.local")
		if err != nil || got != c.kernel {
			t.Errorf("%s: hostname = %q, %v; want %q", c.name, got, err, c.kernel)
		}
	}
	long := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("a", 60), Namespace: "ns"}, Spec: v1.PodSpec{Subdomain: "sub", SetHostnameAsFQDN: &yes}}
	if _, err := kernelHostname(long, "cluster.local"); err == nil {
		t.Error("a name longer than the kernel takes was accepted")
	}
}
