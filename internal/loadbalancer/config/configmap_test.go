package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

func readConfigMap(t testing.TB, text string) Config {
	t.Helper()
	return Read(Objects{ConfigMap: &text})
}

// The ConfigMap of a tutorial for MetalLB 0.7, as it is written there.
func TestConfigMapOfTheArticle(t *testing.T) {
	text, err := os.ReadFile("testdata/l2-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Pools: []Pool{{Name: "default", Object: configMapObject, Ranges: ranges(t, "192.168.3.100-192.168.3.200"), AutoAssign: true}},
		L2:    []L2Advertisement{{Name: "l2advertisement1", Object: configMapObject, Pools: []string{"default"}}},
	}
	if diff := cmp.Diff(want, Read(objects(t, string(text))), exact); diff != "" {
		t.Error(diff)
	}
}

const everyKey = `
peers:
- my-asn: 64500
  peer-asn: 64501
  peer-address: 10.0.0.1
- my-asn: 64500
  peer-asn: 64501
  peer-address: 10.0.0.2
  peer-port: 1179
  hold-time: 120s
  keepalive-time: 40s
  router-id: 10.0.0.9
  source-address: 10.0.0.8
  node-selectors:
  - match-labels: {rack: r1, fast: yes}
  - match-expressions:
    - {key: kubernetes.io/hostname, operator: In, values: [host-b, host-a]}
  password: "yourPassword"
  bfd-profile: Fast_Probes
  ebgp-multihop: false
bgp-communities:
  vpn-only: 1234:1
  NO_ADVERTISE: 65535:65282
address-pools:
- name: my-ip-space
  protocol: layer2
  avoid-buggy-ips: true
  addresses:
  - 198.51.100.0/24
- name: Public_IPs
  protocol: bgp
  auto-assign: false
  addresses: [203.0.113.0/24, 2001:db8::/112]
  bgp-advertisements:
  - aggregation-length: 32
    localpref: 100
    communities: [vpn-only, NO_ADVERTISE, "7:7"]
  - aggregation-length: 24
    aggregation-length-v6: 112
- name: plain
  protocol: bgp
  addresses: [192.0.2.1-192.0.2.9]
bfd-profiles:
- name: Fast_Probes
  receive-interval: 280
  transmit-interval: 270
  detect-multiplier: 4
  echo-interval: 55
  echo-mode: true
  passive-mode: true
  minimum-ttl: 251
`

func TestConfigMapWithEveryKey(t *testing.T) {
	c := readConfigMap(t, everyKey)
	expectProblems(t, c.Problems,
		"kept|ConfigMap config: bfd-profiles[0].echo-interval",
		"kept|ConfigMap config: bfd-profiles[0].echo-mode")
	c.Problems = nil
	want := Config{
		Pools: []Pool{
			{Name: "my-ip-space", Object: configMapObject, Ranges: ranges(t, "198.51.100.0/24"), AutoAssign: true, AvoidBuggyIPs: true},
			{Name: "plain", Object: configMapObject, Ranges: ranges(t, "192.0.2.1-192.0.2.9"), AutoAssign: true},
			{Name: "public-ips", Alias: "Public_IPs", Object: configMapObject, Ranges: ranges(t, "203.0.113.0/24", "2001:db8::/112")},
		},
		L2: []L2Advertisement{{Name: "l2advertisement1", Object: configMapObject, Pools: []string{"my-ip-space"}}},
		BGP: []BGPAdvertisement{
			{
				Name: "bgpadvertisement1", Object: configMapObject, Pools: []string{"public-ips"}, AggregationLength: 32, AggregationLengthV6: 128, LocalPref: 100,
				Communities: []Community{{Parts: [3]uint32{7, 7}}, {Parts: [3]uint32{1234, 1}}, {Parts: [3]uint32{65535, 65282}}},
			},
			{Name: "bgpadvertisement2", Object: configMapObject, Pools: []string{"public-ips"}, AggregationLength: 24, AggregationLengthV6: 112},
			{Name: "bgpadvertisement3", Object: configMapObject, Pools: []string{"plain"}, AggregationLength: 32, AggregationLengthV6: 128},
		},
		Peers: []Peer{
			{Name: "peer1", Object: configMapObject, MyASN: 64500, PeerASN: 64501, Address: addr(t, "10.0.0.1"), Port: 179, HoldTime: 90 * time.Second},
			{
				Name: "peer2", Object: configMapObject, MyASN: 64500, PeerASN: 64501, Address: addr(t, "10.0.0.2"), Port: 1179, HoldTime: 120 * time.Second,
				KeepaliveTime: 40 * time.Second, RouterID: addr(t, "10.0.0.9"), SourceAddress: addr(t, "10.0.0.8"),
				NodeSelectors: []labels.Selector{selector(t, "fast=yes,rack=r1"), selector(t, "kubernetes.io/hostname in (host-a,host-b)")},
				Password:      "yourPassword", BFDProfile: "fast-probes",
			},
		},
		BFDProfiles: []BFDProfile{{"fast-probes", configMapObject, 280 * time.Millisecond, 270 * time.Millisecond, 4, true, 251}},
	}
	if diff := cmp.Diff(want, c, exact); diff != "" {
		t.Error(diff)
	}
}

func TestConfigMapRefusedAsAWhole(t *testing.T) {
	const good = "address-pools:\n- {name: good, protocol: layer2, addresses: [192.0.2.0/28]}\n"
	for _, tc := range []struct{ text, want string }{
		{good + "adress-pools: []", `left|adress-pools: key "adress-pools" is not known here; known keys are address-pools, bfd-profiles, bgp-communities, peers`},
		{good + "- {name: x, protocol: layer2, adresses: []}", "left|address-pools[1].adresses|known keys are addresses, auto-assign"},
		{good + "- {name: x, Protocol: layer2}", "left|address-pools[1].Protocol"},
		{good + "- {name: x, name: y}", "left|config: the text is not valid YAML|already set"},
		{good + "  - x", "left|config: the text is not valid YAML"},
		{good + "peers: {}", "left|peers: must be a list"},
		{good + "peers: [{my-asn: '64500'}]", "left|peers[0].my-asn: must be a whole number"},
		{good + "peers: [{my-asn: 1.5}]", "left|peers[0].my-asn: must be a whole number"},
		{good + "peers: [{my-asn: 18446744073709551615}]", "left|peers[0].my-asn: must be a whole number"},
		{good + "peers: [{ebgp-multihop: 'true'}]", "left|peers[0].ebgp-multihop: must be true or false"},
		{good + "peers: [{peer-address: [10.0.0.1]}]", "left|peers[0].peer-address: must be text"},
		{good + "peers: [{node-selectors: [{match-labels: [a]}]}]", "left|peers[0].node-selectors[0].match-labels: must be a map"},
		{good + "peers: [x]", "left|peers[0]: must be a map with the keys"},
		{good + "bgp-communities: {a: {b: c}}", "left|bgp-communities.a: must be text"},
		{"text", "left|config: must be a map with the keys address-pools"},
		{"[]", "left|config: must be a map"},
	} {
		c := readConfigMap(t, tc.text)
		expectProblems(t, c.Problems, tc.want+"|the whole ConfigMap is left out")
		if len(c.Pools) != 0 {
			t.Errorf("%q: pools are %+v", tc.text, c.Pools)
		}
	}
	c := readConfigMap(t, "a: 1\nb: 2")
	expectProblems(t, c.Problems, "left|a: key", "left|b: key") // all at once
}

// A bad part costs itself.
func TestConfigMapWithABadPart(t *testing.T) {
	const good = "address-pools:\n- {name: good, protocol: layer2, addresses: [192.0.2.0/28]}\n"
	const profile = "bfd-profiles:\n- {name: p}\n"
	for _, tc := range []struct{ text, want string }{
		{good + "- {name: bad, addresses: [10.0.0.0/24]}", `address-pools[1].protocol: the protocol is missing; set layer2 or bgp; pool "bad" of the ConfigMap is left out`},
		{good + "- {name: bad, protocol: arp, addresses: [10.0.0.0/24]}", `address-pools[1].protocol|"arp"|pool "bad"`},
		{good + "- {name: bad, protocol: layer2, addresses: [10.0.0.0/24], bgp-advertisements: [{}]}", "address-pools[1].bgp-advertisements|"},
		{good + "- {name: bad, protocol: layer2}", `address-pools[1].addresses: the pool has no addresses|pool "bad" of the ConfigMap is left out`},
		{good + "- {name: bad, protocol: layer2, addresses: [10.0.0.0/24, 10.0.1.9-10.0.1.1]}", "address-pools[1].addresses[1]|ends before"},
		{good + "- {name: bad, protocol: layer2, addresses: [192.0.2.15/32]}", `address-pools[1].addresses[0]|pool "good"`},
		{good + "- {name: good, protocol: layer2, addresses: [10.0.0.0/24]}", "address-pools[1].name: there is an IPAddressPool \"good\" already"},
		{good + "- {name: Good, protocol: layer2, addresses: [10.0.0.0/24]}", "address-pools[1].name"},
		{good + "- {protocol: layer2, addresses: [10.0.0.0/24]}", "address-pools[1].name: the name is missing"},
		{good + "peers: [{my-asn: 1, peer-asn: 2, peer-address: router}]", "peers[0].peer-address|peer 1 (router) of the ConfigMap is left out"},
		{good + "peers: [{my-asn: 1, peer-address: 10.0.0.1}]", "peers[0].peer-asn|missing"},
		{good + "peers: [{my-asn: 1, peer-asn: 1, peer-address: 10.0.0.1, ebgp-multihop: true}]", "peers[0].ebgp-multihop"},
		{good + "peers: [{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1, hold-time: 2s}]", "peers[0].hold-time"},
		{good + "peers: [{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1, hold-time: 90}]", `peers[0].hold-time: "90" is no duration`},
		{good + "peers: [{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1, router-id: x}]", "peers[0].router-id"},
		{good + "peers: [{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1, node-selectors: [{match-expressions: [{key: a, operator: Near}]}]}]", "peers[0].node-selectors[0]"},
		{good + "bgp-communities: {a: x}", `bgp-communities.a: "x" is no community|community "a" of the ConfigMap is left out`},
		{good + profile + "- {name: p}", "bfd-profiles[1].name: there is a BFDProfile \"p\" already"},
		{good + profile + "- {name: bad, detect-multiplier: 1}", "bfd-profiles[1].detect-multiplier|from 2 to 255"},
	} {
		c := readConfigMap(t, tc.text)
		expectProblems(t, c.Problems, "kept|ConfigMap config: "+strings.TrimSuffix(tc.want, "|"))
		if names := namesOf(c.Pools); !slices.Equal(names, []string{"good"}) {
			t.Errorf("%q: pools are %v", tc.text, names)
		}
		if len(c.Peers) > 0 {
			t.Errorf("%q: peers are %+v", tc.text, c.Peers)
		}
	}
}

func TestConfigMapAdvertisements(t *testing.T) {
	const pool = "address-pools:\n- name: a\n  protocol: bgp\n  addresses: [192.0.2.0/28]\n  bgp-advertisements:\n  - "
	for _, tc := range []struct {
		ad, want string
		used     bool
	}{
		{"{communities: [gone]}", "address-pools[0].bgp-advertisements[0].communities[0]|no Community", false},
		{"{communities: ['1:x']}", `address-pools[0].bgp-advertisements[0].communities[0]|advertisement 1 of pool "a" of the ConfigMap is left out`, false},
		{"{aggregation-length: 33}", "address-pools[0].bgp-advertisements[0].aggregation-length", false},
		{"{aggregation-length-v6: 129}", "address-pools[0].bgp-advertisements[0].aggregation-length-v6", false},
		{"{localpref: -1}", "address-pools[0].bgp-advertisements[0].localpref", false},
		{"{aggregation-length: 24}", "address-pools[0].bgp-advertisements[0].aggregation-length|smaller than a prefix", true},
	} {
		c := readConfigMap(t, pool+tc.ad)
		expectProblems(t, c.Problems, "kept|ConfigMap config: "+tc.want)
		if len(c.Pools) != 1 || (len(c.BGP) == 1) != tc.used || tc.used && len(c.BGP[0].Pools) != 0 {
			t.Errorf("%s: the model is %+v", tc.ad, c)
		}
	}
}

// Objects and the ConfigMap are used side by side; names and addresses that both have are the objects'.
func TestConfigMapBesideObjects(t *testing.T) {
	c := Read(objects(t, join2(
		configMapText(`
address-pools:
- {name: shared-name, protocol: layer2, addresses: [10.0.0.0/28]}
- {name: overlapping, protocol: bgp, addresses: [10.0.2.0/24]}
- {name: own, protocol: layer2, addresses: [10.0.3.0/28]}
peers:
- {my-asn: 1, peer-asn: 2, peer-address: 10.9.0.1}
- {my-asn: 1, peer-asn: 2, peer-address: 10.9.0.9}
bfd-profiles:
- {name: fast}
bgp-communities: {cheap: "1:1", dear: "1:2"}`),
		objectText("IPAddressPool", "shared-name", "{addresses: [10.0.1.0/28]}"),
		objectText("IPAddressPool", "first", "{addresses: [10.0.2.16/28]}"),
		objectText("L2Advertisement", "l2advertisement1", "{ipAddressPools: [own, first]}"),
		objectText("BGPPeer", "peer1", "{myASN: 1, peerASN: 2, peerAddress: 10.9.0.9}"),
		objectText("BFDProfile", "fast", "{detectMultiplier: 9}"),
		objectText("Community", "c", `{communities: [{name: cheap, value: "2:2"}]}`),
		objectText("BGPAdvertisement", "b", "{communities: [cheap, dear], peers: [peer1, peer2]}"),
	)))
	expectProblems(t, c.Problems,
		`kept|ConfigMap config: address-pools[0].name: there is an IPAddressPool "shared-name" already`,
		`kept|ConfigMap config: address-pools[1].addresses[0]|pool "first"`,
		`kept|ConfigMap config: bfd-profiles[0].name`,
		`kept|ConfigMap config: bgp-communities.cheap: community "cheap" has another value`,
		`kept|ConfigMap config: peers[1].peer-address|peer "peer1" has 10.9.0.9 too`)
	if names := namesOf(c.Pools); !slices.Equal(names, []string{"first", "own", "shared-name"}) || c.Pools[2].Object.Kind != "IPAddressPool" {
		t.Errorf("pools are %+v", c.Pools)
	}
	var l2 []string
	for _, ad := range c.L2 {
		l2 = append(l2, ad.Name+" "+ad.Object.Kind+" "+strings.Join(ad.Pools, ","))
	}
	if diff := cmp.Diff([]string{"l2advertisement1 L2Advertisement first,own", "l2advertisement2 ConfigMap own"}, l2); diff != "" {
		t.Error(diff)
	}
	var peers []string
	for _, p := range c.Peers {
		peers = append(peers, p.Name+" "+p.Object.Kind+" "+p.Address.String())
	}
	if diff := cmp.Diff([]string{"peer1 BGPPeer 10.9.0.9", "peer2 ConfigMap 10.9.0.1"}, peers); diff != "" {
		t.Error(diff)
	}
	if len(c.BFDProfiles) != 1 || c.BFDProfiles[0].DetectMultiplier != 9 {
		t.Errorf("BFD profiles are %+v", c.BFDProfiles)
	}
	i := slices.IndexFunc(c.BGP, func(a BGPAdvertisement) bool { return a.Name == "b" })
	if diff := cmp.Diff([]Community{{Parts: [3]uint32{1, 2}}, {Parts: [3]uint32{2, 2}}}, c.BGP[i].Communities); diff != "" {
		t.Error(diff)
	}
}

func TestObjectName(t *testing.T) {
	for name, want := range map[string]string{
		"default":                     "default",
		"Pool_A":                      "pool-a",
		"1st-pool":                    "st-pool",
		"a":                           "a",
		"":                            "",
		"42":                          "42", // no letter: as it is
		"UPPER":                       "upper",
		strings.Repeat("x", 70):       strings.Repeat("x", 63),
		"_" + strings.Repeat("Y", 70): strings.Repeat("y", 62),
	} {
		if got := objectName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

func TestKeysOf(t *testing.T) {
	for path, want := range map[string]string{
		"spec.addresses[1]":                      ".addresses[1]",
		"spec.avoidBuggyIPs":                     ".avoid-buggy-ips",
		"spec.myASN":                             ".my-asn",
		"spec.routerID":                          ".router-id",
		"spec.ebgpMultiHop":                      ".ebgp-multihop",
		"spec.localPref":                         ".localpref",
		"spec.aggregationLengthV6":               ".aggregation-length-v6",
		"spec.minimumTtl":                        ".minimum-ttl",
		"spec.nodeSelectors[0].matchLabels[key]": ".node-selectors[0].match-labels[key]",
		"spec":                                   "",
		"":                                       "",
	} {
		if got := keysOf(path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}

// A small text that stands for a large one, by aliases of aliases, is refused in little time.
func TestConfigMapWithExcessiveAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	b.WriteString("address-pools: [{name: p, protocol: layer2, addresses: *a9}]\n")
	c := readConfigMap(t, b.String())
	expectProblems(t, c.Problems, "left|config: the text is not valid YAML|excessive aliasing")
}
