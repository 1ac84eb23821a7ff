package config

import (
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func addr(t testing.TB, s string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestOneObject has one object in each row: what Read finds wrong with it, and whether the API must refuse it.
func TestOneObject(t *testing.T) {
	const (
		selectorBad = "[{matchExpressions: [{key: a, operator: Like, values: [b]}]}]"
		peer        = "{myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.1"
	)
	for _, tc := range []struct{ kind, spec, problem string }{ // problem: refused|, left| (allowed, but not used) or kept|
		{"IPAddressPool", "{addresses: [192.0.2.0/24]}", ""},
		{"IPAddressPool", "{}", "refused|spec.addresses: the pool has no addresses"},
		{"IPAddressPool", "{addresses: [192.0.2.9-192.0.2.1]}", "refused|spec.addresses[0]|192.0.2.1-192.0.2.9"},
		{"IPAddressPool", "{addresses: [192.0.2.1-fd00::1]}", "refused|spec.addresses[0]|use two ranges"},
		{"IPAddressPool", "{addresses: [192.0.2.0/24, 10.0.0.0/40]}", "refused|spec.addresses[1]|neither a CIDR"},
		{"IPAddressPool", "{addresses: [192.0.2.0/24, 192.0.2.255-192.0.3.0]}", `refused|spec.addresses[1]|"192.0.2.0/24" of the same pool`},
		{"IPAddressPool", "{addresses: [192.0.2.0/24, 192.0.2.0/24]}", "refused|spec.addresses[1]|list each address once"},
		{"IPAddressPool", "{addresses: [192.0.2.0/24], serviceAllocation: {namespaceSelectors: " + selectorBad + "}}", "refused|spec.serviceAllocation.namespaceSelectors[0]|no label selector"},
		{"IPAddressPool", "{addresses: [192.0.2.0/24], serviceAllocation: {serviceSelectors: [{matchLabels: {a: b c}}]}}", "refused|spec.serviceAllocation.serviceSelectors[0]|no label selector"},

		{"L2Advertisement", "{ipAddressPoolSelectors: " + selectorBad + "}", "refused|spec.ipAddressPoolSelectors[0]"},
		{"L2Advertisement", "{nodeSelectors: " + selectorBad + "}", "refused|spec.nodeSelectors[0]"},
		{"L2Advertisement", "{serviceSelectors: " + selectorBad + "}", "refused|spec.serviceSelectors[0]"},
		{"L2Advertisement", "{interfaces: ['']}", "refused|spec.interfaces[0]"},
		{"L2Advertisement", "{preferredNodeSelectors: [{weight: 1, preference: {}}, {weight: 101, preference: {}}]}", "refused|spec.preferredNodeSelectors[1].weight|from 1 to 100"},
		{"L2Advertisement", "{preferredNodeSelectors: [{weight: 5, preference: {matchExpressions: [{key: a, operator: In}]}}]}", "refused|spec.preferredNodeSelectors[0].preference"},

		{"BGPAdvertisement", "{aggregationLength: 0}", "refused|spec.aggregationLength|from 1 to 32"},
		{"BGPAdvertisement", "{aggregationLengthV6: 129}", "refused|spec.aggregationLengthV6|from 0 to 128"},
		{"BGPAdvertisement", "{serviceSelectors: [{}], aggregationLength: 24}", "refused|spec.aggregationLength|serviceSelectors"},
		{"BGPAdvertisement", "{serviceSelectors: [{}], aggregationLengthV6: 64}", "refused|spec.aggregationLengthV6|serviceSelectors"},
		{"BGPAdvertisement", "{serviceSelectors: [{}], aggregationLength: 32, aggregationLengthV6: 128}", ""},
		{"BGPAdvertisement", "{localPref: -1}", "refused|spec.localPref"},
		{"BGPAdvertisement", "{localPref: 4294967296}", "refused|spec.localPref"},
		{"BGPAdvertisement", "{asPathPrepend: 11}", "refused|spec.asPathPrepend"},
		{"BGPAdvertisement", "{asPathPrepend: 1}", "kept|spec.asPathPrepend|not supported"},
		{"BGPAdvertisement", "{communities: ['64500:65536']}", `refused|spec.communities[0]|"65536"|from 0 to 65535`},
		{"BGPAdvertisement", "{communities: ['small:1:2:3']}", "refused|spec.communities[0]"},
		{"BGPAdvertisement", "{communities: ['large:1:2:4294967296']}", "refused|spec.communities[0]|from 0 to 4294967295"},
		{"BGPAdvertisement", "{communities: ['']}", "refused|spec.communities[0]"},
		{"BGPAdvertisement", "{communities: [no-such-name]}", `left|spec.communities[0]|no Community has the name "no-such-name"`},
		{"BGPAdvertisement", "{ipAddressPools: [gone]}", "kept|spec.ipAddressPools[0]"},
		{"BGPAdvertisement", "{peers: [gone]}", "kept|spec.peers[0]"},
		{"BGPAdvertisement", "{nodeSelectors: " + selectorBad + "}", "refused|spec.nodeSelectors[0]"},

		{"BGPPeer", peer + "}", ""},
		{"BGPPeer", "{peerASN: 1, peerAddress: 192.0.2.1}", "refused|spec.myASN|missing"},
		{"BGPPeer", "{myASN: 4294967296, peerASN: 1, peerAddress: 192.0.2.1}", "refused|spec.myASN|no AS number"},
		{"BGPPeer", "{myASN: 1, peerAddress: 192.0.2.1}", "refused|spec.peerASN|missing"},
		{"BGPPeer", peer + ", dynamicASN: internal}", "refused|spec.dynamicASN|remove one"},
		{"BGPPeer", "{myASN: 1, dynamicASN: any, peerAddress: 192.0.2.1}", "refused|spec.dynamicASN|internal or external"},
		{"BGPPeer", "{myASN: 1, peerASN: 1, peerAddress: 192.0.2.1, ebgpMultiHop: true}", "refused|spec.ebgpMultiHop"},
		{"BGPPeer", "{myASN: 1, dynamicASN: internal, peerAddress: 192.0.2.1, ebgpMultiHop: true}", "refused|spec.ebgpMultiHop"},
		{"BGPPeer", "{myASN: 1, peerASN: 2}", "refused|spec.peerAddress|missing"},
		{"BGPPeer", peer + ", interface: eth0}", "refused|spec.interface|remove one"},
		{"BGPPeer", "{myASN: 1, peerASN: 2, peerAddress: router.example}", `refused|spec.peerAddress|"router.example" is not an IP address`},
		{"BGPPeer", "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.0/24}", "refused|spec.peerAddress"},
		{"BGPPeer", "{myASN: 1, peerASN: 2, peerAddress: 'fe80::1%eth0'}", "refused|spec.peerAddress|zone"},
		{"BGPPeer", peer + ", sourceAddress: x}", "refused|spec.sourceAddress"},
		{"BGPPeer", peer + ", sourceAddress: 'fd00::1'}", "refused|spec.sourceAddress|IP family"},
		{"BGPPeer", peer + ", routerID: 'fd00::1'}", "refused|spec.routerID|IPv4"},
		{"BGPPeer", peer + ", peerPort: 65536}", "refused|spec.peerPort"},
		{"BGPPeer", peer + ", holdTime: 0s}", ""},
		{"BGPPeer", peer + ", holdTime: 3s}", ""},
		{"BGPPeer", peer + ", holdTime: 2s}", "refused|spec.holdTime|neither 0s nor 3s or more"},
		{"BGPPeer", peer + ", holdTime: 2999ms}", "refused|spec.holdTime"},
		{"BGPPeer", peer + ", holdTime: 500ms}", "refused|spec.holdTime|less than a second"},
		{"BGPPeer", peer + ", holdTime: -9s}", "refused|spec.holdTime|no duration"},
		{"BGPPeer", peer + ", holdTime: 65536s}", "refused|spec.holdTime|65535s"},
		{"BGPPeer", peer + ", holdTime: soon}", `refused|spec.holdTime|"soon" is no duration`},
		{"BGPPeer", peer + ", holdTime: 9s, keepaliveTime: 10s}", "refused|spec.keepaliveTime|longer than holdTime"},
		{"BGPPeer", peer + ", holdTime: 0s, keepaliveTime: 1s}", "refused|spec.keepaliveTime"},
		{"BGPPeer", peer + ", keepaliveTime: 1ms}", "refused|spec.keepaliveTime|use 1s or more"},
		{"BGPPeer", peer + ", connectTime: x}", "refused|spec.connectTime"},
		{"BGPPeer", peer + ", password: a, passwordSecret: {name: b}}", "refused|spec.password|remove one"},
		{"BGPPeer", peer + ", password: " + strings.Repeat("x", 81) + "}", "refused|spec.password|81 bytes"},
		{"BGPPeer", peer + ", nodeSelectors: " + selectorBad + "}", "refused|spec.nodeSelectors[0]"},
		{"BGPPeer", peer + ", passwordSecret: {name: b, namespace: other}}", "kept|spec.passwordSecret.namespace|metallb-system"},
		{"BGPPeer", peer + ", disableMP: true, dualStackAddressFamily: true}", "kept|spec.disableMP|dualStackAddressFamily"},
		{"BGPPeer", peer + ", vrf: red}", "left|spec.vrf|VRFs are not supported"},
		{"BGPPeer", peer + ", bfdProfile: gone}", `kept|spec.bfdProfile|profile "gone" doesn't exist`},

		{"BFDProfile", "{}", ""},
		{"BFDProfile", "{receiveInterval: 9}", "refused|spec.receiveInterval|from 10 to 60000"},
		{"BFDProfile", "{transmitInterval: 60001}", "refused|spec.transmitInterval"},
		{"BFDProfile", "{detectMultiplier: 1}", "refused|spec.detectMultiplier|from 2 to 255"},
		{"BFDProfile", "{minimumTtl: 255}", "refused|spec.minimumTtl"},
		{"BFDProfile", "{echoInterval: 1}", "refused|spec.echoInterval"},
		{"BFDProfile", "{echoMode: true}", "kept|spec.echoMode|remove the field"},
		{"BFDProfile", "{echoInterval: 50}", "kept|spec.echoInterval|no effect"},
		{"BFDProfile", "{passiveMode: true}", ""},
		{"BFDProfile", "{minimumTtl: 254}", ""},
		{"BFDProfile", "{echoMode: false, passiveMode: false}", ""},

		{"Community", "{communities: [{name: a, value: '1:2'}, {name: a, value: '1:2'}]}", ""},
		{"Community", "{communities: [{name: a, value: '1:2'}, {name: a, value: '1:3'}]}", "refused|spec.communities[1].name|another value"},
		{"Community", "{communities: [{value: '1:2'}]}", "refused|spec.communities[0].name"},
		{"Community", "{communities: [{name: a, value: b}]}", `refused|spec.communities[0].value|"b" is no community`},
		{"Community", "{communities: [{name: a, value: '1:-2'}]}", "refused|spec.communities[0].value"},
	} {
		t.Run(tc.kind+tc.spec, func(t *testing.T) {
			text := objectText(tc.kind, "x", tc.spec)
			verdict, rest, _ := strings.Cut(tc.problem, "|")
			c := Read(objects(t, text))
			o := Object{tc.kind, Namespace, "x"}
			condition := c.Condition(o, 3)
			errs, warnings := Admit(Objects{}, contents(t, text)[0])
			if (verdict == "refused") != (len(errs) > 0) || (verdict == "kept" || verdict == "left") != (len(warnings) > 0) {
				t.Errorf("admission: errors %v, warnings %q", errs, warnings)
			}
			switch verdict {
			case "":
				expectProblems(t, c.Problems)
				if condition.Status != metav1.ConditionTrue || condition.Reason != ReasonAccepted || condition.ObservedGeneration != 3 {
					t.Errorf("condition is %+v", condition)
				}
			case "kept":
				expectProblems(t, c.Problems, tc.problem)
				if condition.Status != metav1.ConditionTrue || condition.Reason != ReasonPartlyAccepted {
					t.Errorf("condition is %+v", condition)
				}
			default:
				expectProblems(t, c.Problems, "left|"+rest)
				if condition.Status != metav1.ConditionFalse || condition.Reason != ReasonInvalid || condition.Message == "" {
					t.Errorf("condition is %+v", condition)
				}
			}
			used := len(c.Pools) + len(c.L2) + len(c.BGP) + len(c.Peers) + len(c.BFDProfiles)
			if want := verdict == "" || verdict == "kept"; tc.kind != "Community" && want != (used == 1) {
				t.Errorf("the model is %+v", c)
			}
		})
	}
}

func TestOtherNamespace(t *testing.T) {
	for _, kind := range []string{"IPAddressPool", "L2Advertisement", "BGPAdvertisement", "BGPPeer", "BFDProfile", "Community"} {
		text := "kind: " + kind + "\nmetadata: {name: x, namespace: default}\nspec: {addresses: [192.0.2.0/28], myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}"
		c := Read(objects(t, text))
		expectProblems(t, c.Problems, "left|"+kind+" default/x: metadata.namespace|metallb-system")
		if errs, _ := Admit(Objects{}, contents(t, text)[0]); len(errs) == 0 {
			t.Errorf("a %s in another namespace was admitted", kind)
		}
	}
	// What is elsewhere is in nobody's way.
	c := Read(objects(t, join2("kind: IPAddressPool\nmetadata: {name: a, namespace: default}\nspec: {addresses: [192.0.2.0/28]}",
		objectText("IPAddressPool", "b", "{addresses: [192.0.2.0/28]}"))))
	if len(c.Pools) != 1 || c.Pools[0].Name != "b" {
		t.Errorf("pools are %+v", c.Pools)
	}
}

func TestUndecodable(t *testing.T) {
	text := objectText("IPAddressPool", "x", "{addresses: 5}")
	c := Read(objects(t, join2(text, objectText("IPAddressPool", "good", "{addresses: [192.0.2.0/28]}"))))
	expectProblems(t, c.Problems, "left|IPAddressPool x|can't be read|spec.addresses")
	if len(c.Pools) != 1 {
		t.Errorf("pools are %+v", c.Pools)
	}
	if errs, _ := Admit(Objects{}, contents(t, text)[0]); len(errs) == 0 {
		t.Error("it was admitted")
	}
}

func TestAdmitBesideOthers(t *testing.T) {
	existing := objects(t, join2(
		objectText("IPAddressPool", "a", "{addresses: [192.0.2.0/28]}"),
		objectText("BGPPeer", "r1", "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}"),
		objectText("BGPPeer", "r2", "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.2, nodeSelectors: [{matchLabels: {rack: r1}}]}"),
		objectText("BFDProfile", "fast", "{}"),
		objectText("Community", "c", "{communities: [{name: cheap, value: '1:2'}, {name: '1:2:3:4', value: '1:3'}]}")))
	const peer = "{myASN: 1, peerASN: 2, peerAddress: "
	for _, tc := range []struct{ kind, name, spec, want string }{ // want: refused|text, warned|text, or nothing
		{"IPAddressPool", "b", "{addresses: [192.0.2.16/28]}", ""},
		{"IPAddressPool", "b", "{addresses: [192.0.2.15-192.0.2.20]}", `refused|pool "a" has too (192.0.2.0/28)`},
		{"IPAddressPool", "a", "{addresses: [192.0.2.0/24]}", ""}, // itself, changed
		{"BGPPeer", "x", peer + "192.0.2.1}", `refused|peer "r1" has 192.0.2.1 too`},
		{"BGPPeer", "x", peer + "192.0.2.1, nodeSelectors: [{matchLabels: {rack: r2}}]}", `refused|peer "r1"`},
		{"BGPPeer", "x", peer + "192.0.2.1, peerPort: 1179}", ""},
		{"BGPPeer", "x", peer + "192.0.2.2, nodeSelectors: [{matchLabels: {rack: r2}}]}", ""},
		{"BGPPeer", "x", peer + "192.0.2.2, nodeSelectors: [{matchLabels: {rack: r1}}]}", `refused|peer "r2"`},
		{"BGPPeer", "r1", peer + "192.0.2.1, holdTime: 9s}", ""},
		{"BGPPeer", "x", peer + "192.0.2.3, bfdProfile: fast}", ""},
		{"BGPPeer", "x", peer + "192.0.2.3, bfdProfile: fast, ebgpMultiHop: true}", ""},
		{"Community", "x", "{communities: [{name: cheap, value: '1:2'}]}", ""},
		{"Community", "x", "{communities: [{name: cheap, value: '1:9'}]}", "refused|another value"},
		{"Community", "c", "{communities: [{name: cheap, value: '1:9'}]}", ""},
		{"BGPAdvertisement", "x", "{communities: [cheap, '1:2:3:4']}", ""},
		{"BGPAdvertisement", "x", "{communities: ['1:2:3:5']}", "refused|no community"},
		{"BGPAdvertisement", "x", "{communities: [dear]}", `warned|no Community has the name "dear"`},
		{"BGPAdvertisement", "x", "{aggregationLength: 24}", "warned|smaller than a prefix of length 24"},
		{"L2Advertisement", "x", "{ipAddressPools: [a, b]}", `warned|pool "b" doesn't exist`},
		{"ServiceL2Status", "x", "{}", ""},
	} {
		errs, warnings := Admit(existing, contents(t, objectText(tc.kind, tc.name, tc.spec))[0])
		verdict, text, _ := strings.Cut(tc.want, "|")
		var got string
		if len(errs) > 0 {
			got = errs.ToAggregate().Error()
		}
		if (verdict == "refused") != (got != "") || verdict == "refused" && !strings.Contains(got, text) {
			t.Errorf("%s %s: errors %q, want %q", tc.kind, tc.spec, got, tc.want)
		}
		if w := strings.Join(warnings, "\n"); (verdict == "warned") != (w != "") || verdict == "warned" && !strings.Contains(w, text) {
			t.Errorf("%s %s: warnings %q, want %q", tc.kind, tc.spec, w, tc.want)
		}
	}
	if len(existing.Pools) != 1 || existing.Pools[0].Spec.Addresses[0] != "192.0.2.0/28" {
		t.Errorf("Admit changed its argument: %+v", existing.Pools)
	}
}

func TestBGPAdvertisementsOfOnePool(t *testing.T) {
	base := []string{
		objectText("IPAddressPool", "range", "{addresses: [192.168.3.100-192.168.3.200]}"),
		objectText("IPAddressPool", "wide", "{addresses: [198.51.100.0/24]}"),
		objectText("BGPPeer", "p", "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}"),
		objectText("BGPPeer", "q", "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.2}"),
	}
	for _, tc := range []struct {
		name, a, b   string
		problems     []string
		poolsA, pool string // announced by a and b, as text
	}{
		{"fits", "{aggregationLength: 26}", "{aggregationLength: 26}", nil, "range wide", "range wide"},
		{"too short for one", "{aggregationLength: 25}", "{}", []string{`kept|BGPAdvertisement a: spec.aggregationLength|192.168.3.100-192.168.3.200 of pool "range"|use 26 or more`}, "wide", "range wide"},
		{"preferences", "{localPref: 1}", "{localPref: 2}", []string{`kept|BGPAdvertisement b: spec.localPref|pool "range" with localPref 1`, `kept|BGPAdvertisement b: spec.localPref|pool "wide"`}, "range wide", ""},
		{"preferences, one pool", "{localPref: 1, ipAddressPools: [wide]}", "{localPref: 2}", []string{`kept|BGPAdvertisement b: spec.localPref|pool "wide"`}, "wide", "range"},
		{"preferences, other peers", "{localPref: 1, peers: [p]}", "{localPref: 2, peers: [q]}", nil, "range wide", "range wide"},
		{"preferences, a peer in common", "{localPref: 1, peers: [p], ipAddressPools: [wide]}", "{localPref: 2, peers: [q, p], ipAddressPools: [wide]}", []string{"kept|BGPAdvertisement b: spec.localPref"}, "wide", ""},
		{"preferences, other lengths", "{localPref: 1, aggregationLength: 26}", "{localPref: 2}", nil, "range wide", "range wide"},
		{"preferences, other IPv6 length alone", "{localPref: 1, aggregationLengthV6: 64, ipAddressPools: [wide]}", "{localPref: 2, ipAddressPools: [wide]}", []string{"kept|BGPAdvertisement b: spec.localPref"}, "wide", ""},
		{"preferences, some nodes", "{localPref: 1, nodeSelectors: [{matchLabels: {a: b}}]}", "{localPref: 2}", nil, "range wide", "range wide"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Read(objects(t, join2(append(base, objectText("BGPAdvertisement", "a", tc.a), objectText("BGPAdvertisement", "b", tc.b))...)))
			expectProblems(t, c.Problems, tc.problems...)
			if a, b := strings.Join(c.BGP[0].Pools, " "), strings.Join(c.BGP[1].Pools, " "); a != tc.poolsA || b != tc.pool {
				t.Errorf("a announces %q, b %q; want %q and %q", a, b, tc.poolsA, tc.pool)
			}
		})
	}
}
