package cluster

import (
	"strings"
	"testing"
)

const head = "apiVersion: minato.local/v1alpha1\nkind: Cluster\n"

const wholeFile = head + `
name: dev
nodes:
- {}
- labels: {topology.kubernetes.io/zone: a}
- {name: big, taints: [{key: dedicated, value: db, effect: NoSchedule}], resources: {memory: 2Gi, hugepages-2Mi: 0}}
resources: {cpu: 1, memory: 1Gi, pids: 500, ephemeral-storage: 20Gi, hugepages-2Mi: 128Mi}
ipFamily: dual
lanCIDR: 172.31.0.0/16,fd00:31::/64
podCIDR: 10.245.0.0/16,fd00:45::/56
serviceCIDR: 10.97.0.0/16,fd00:97::/112
loadBalancerRange: none
clusterDomain: example.test
apiPort: 7443
ephemeral: true
oldAPIs: false
kubeconfig: dev.conf
registryConfig: certs.d
allowedUnsafeSysctls: [net.core.somaxconn]
images: [app.tar, /abs/app.tar]
manifests: [k8s/]
`

func TestFile(t *testing.T) {
	f, err := ParseFile([]byte(wholeFile))
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Name = f.Name
	if c, err = f.Apply(c, "/dir", false); err != nil {
		t.Fatal(err)
	}
	if err := c.WithDefaultRanges().Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Nodes != 3 || specNames(c) != "node-1 node-2 big" || c.NodeList[1].Labels["topology.kubernetes.io/zone"] != "a" || c.NodeList[2].Taints[0].Key != "dedicated" {
		t.Errorf("nodes: %+v", c.NodeList)
	}
	if c.IPFamily != DualStack || c.LAN.String() != "172.31.0.0/16,fd00:31::/64" || c.APIPort != 7443 || !c.Ephemeral || c.OldAPIs || c.ClusterDomain != "example.test" || c.LoadBalancerRange != "none" || len(c.AllowedUnsafeSysctls) != 1 {
		t.Errorf("%+v", c)
	}
	if got, own := c.claim(c.NodeList[1]).String(), c.claim(c.NodeList[2]).String(); got != "--node-cpu 1 --node-memory 1Gi --node-pids 500 --node-ephemeral-storage 20Gi --node-hugepages 2Mi=128Mi" || own != "--node-cpu 1 --node-memory 2Gi --node-pids 500 --node-ephemeral-storage 20Gi --node-hugepages 2Mi=0" {
		t.Errorf("nodes claim %s, and the one with its own %s", got, own)
	}
	if images, manifests := f.Paths("/dir"); c.Kubeconfig != "/dir/dev.conf" || c.Registries.Config != "/dir/certs.d" || strings.Join(images, " ") != "/dir/app.tar /abs/app.tar" || manifests[0] != "/dir/k8s" {
		t.Errorf("paths: %s %v %v", c.Kubeconfig, images, manifests)
	}
	// The same file for the cluster that was made from it, a node of which is
	// stopped; and one with other nodes.
	c = c.changeNode("big", func(n *NodeSpec) { n.Stopped = true })
	again, err := f.Apply(c, "/dir", true)
	if err != nil || sameCluster(c, again) != nil || !again.NodeList[2].Stopped {
		t.Errorf("the same file again: %v %v", err, sameCluster(c, again))
	}
	f.Nodes = f.Nodes[:2]
	if _, err := f.Apply(c, "/dir", true); err == nil || !strings.Contains(err.Error(), "minato node add") {
		t.Errorf("other nodes: %v", err)
	}
	// What is left out stays.
	less, err := ParseFile([]byte(head))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := less.Apply(c, "/dir", true); err != nil || sameCluster(c, same) != nil {
		t.Errorf("an empty file changed %v, %v", same, err)
	}
}

func TestFileRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                         "give apiVersion: minato.local/v1alpha1",
		"apiVersion: v1\nkind: Cluster":            `apiVersion "v1"`,
		"a: [":                                     "yaml",
		head + "node: []":                          `unknown field "node"`,
		head + "nodes: [{}, {label: {}}]":          `unknown field "nodes[1].label"`,
		head + "name: a\nname: b":                  `"name" already set`,
		head + "name: UPPER":                       "name: ",
		head + "nodes: 3":                          "nodes",
		head + "nodes: [{name: first}]":            "nodes[0].name",
		head + "nodes: [{}, {name: node-1}]":       "nodes[1].name",
		head + "nodes: [{}, {name: node-3}]":       "nodes[1].name",
		head + "nodes: [{}, {name: a}, {name: a}]": "nodes[2].name",
		head + "nodes: [{}, {name: Upper}]":        "nodes[1].name",
		head + "nodes: [{labels: {node-role.kubernetes.io/x: ''}}]": "nodes[0].labels",
		head + "nodes: [{taints: [{key: a, effect: Never}]}]":       "nodes[0].taints[0]",
		head + "nodes: [{taints: [{key: a}]}]":                      "nodes[0].taints[0]",
		head + "resources: {disk: 1Gi}":                             "resources.disk: is nothing that a node can claim; these are cpu, memory, pids",
		head + "resources: {cpu: 500m}":                             "resources.cpu: 500m: give a whole number",
		head + "resources: {memory: much}":                          `resources.memory: "much" is no quantity`,
		head + "resources: {hugepages-x: 2Mi}":                      "resources.hugepages-x: give a size of pages",
		head + "nodes: [{resources: {memory: 1Mi}}]":                "nodes[0].resources.memory: --node-memory 1Mi: a node needs at least 256Mi",
		head + "nodes: [{resources: {hugepages-2Mi: 3Mi}}]":         "nodes[0].resources.hugepages-2Mi: --node-hugepages 2Mi=3Mi: give a multiple",
		head + "etcd: {caFile: x}":                                  "etcd.servers",
	} {
		if _, err := ParseFile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		head + "podCIDR: x":           "podCIDR: ",
		head + "ipFamily: ipv5":       "ipFamily: ",
		head + "loadBalancerRange: x": "loadBalancerRange: ",
	} {
		f, err := ParseFile([]byte(text))
		if err == nil {
			_, err = f.Apply(DefaultConfig(), "/", false)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(wholeFile))
	f.Add([]byte(head + "etcd: {servers: [x]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := ParseFile(text)
		if err != nil {
			return
		}
		c, err := file.Apply(DefaultConfig(), "/dir", false)
		if err == nil {
			_ = c.WithDefaultRanges().Validate()
		}
	})
}
