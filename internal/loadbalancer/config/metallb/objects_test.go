package metallb

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func content(t *testing.T, kind, version, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	if object == nil {
		object = map[string]any{}
	}
	object["apiVersion"], object["kind"] = Group+"/"+version, kind
	object["metadata"] = map[string]any{"name": "a", "namespace": "metallb-system"}
	return numbers(object).(map[string]any)
}

// numbers turns whole numbers into int64, as the API server's decoder does.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case float64:
		return int64(v)
	}
	return v
}

func TestObjectsAtTheAPI(t *testing.T) {
	const selector = `[{matchLabels: {a: b}}, {matchExpressions: [{key: c, operator: In, values: [d, e]}]}, {}]`
	const peer = "spec: {myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.1"
	for _, tc := range []struct{ name, kind, version, text, refused string }{
		{"pool", KindIPAddressPool, "", "spec: {addresses: [192.0.2.0/28, 192.0.2.100-192.0.2.110, 2001:db8::/64]}", ""},
		{"pool with all", KindIPAddressPool, "", "spec: {addresses: [192.0.2.0/28], autoAssign: false, avoidBuggyIPs: true, serviceAllocation: {priority: -5, namespaces: [a], namespaceSelectors: " + selector + ", serviceSelectors: " + selector + "}}", ""},
		{"pool without spec", KindIPAddressPool, "", "", "spec"},
		{"pool without addresses", KindIPAddressPool, "", "spec: {addresses: []}", "addresses"},
		{"pool with a number as an address", KindIPAddressPool, "", "spec: {addresses: [7]}", "addresses[0]"},
		{"L2 without anything", KindL2Advertisement, "", "", ""},
		{"L2 with all", KindL2Advertisement, "", "spec: {ipAddressPools: [a], ipAddressPoolSelectors: " + selector + ", nodeSelectors: " + selector + ", interfaces: [eth0], serviceSelectors: " + selector + ", preferredNodeSelectors: [{weight: 100, preference: {matchLabels: {a: b}}}]}", ""},
		{"L2 with weight 0", KindL2Advertisement, "", "spec: {preferredNodeSelectors: [{weight: 0, preference: {}}]}", "weight"},
		{"L2 with weight 101", KindL2Advertisement, "", "spec: {preferredNodeSelectors: [{weight: 101, preference: {}}]}", "weight"},
		{"selector without an operator", KindL2Advertisement, "", "spec: {nodeSelectors: [{matchExpressions: [{key: a}]}]}", "operator"},
		{"BGP without anything", KindBGPAdvertisement, "", "", ""},
		{"BGP with all", KindBGPAdvertisement, "", "spec: {aggregationLength: 24, aggregationLengthV6: 64, localPref: 100, asPathPrepend: 3, communities: ['64500:1', no-export], ipAddressPools: [a], ipAddressPoolSelectors: " + selector + ", nodeSelectors: " + selector + ", peers: [p]}", ""},
		{"BGP aggregation 0", KindBGPAdvertisement, "", "spec: {aggregationLength: 0}", "aggregationLength"},
		{"BGP aggregation 33", KindBGPAdvertisement, "", "spec: {aggregationLength: 33}", "aggregationLength"},
		{"BGP aggregation 129", KindBGPAdvertisement, "", "spec: {aggregationLengthV6: 129}", "aggregationLengthV6"},
		{"BGP for Services", KindBGPAdvertisement, "", "spec: {serviceSelectors: [{}], aggregationLength: 32}", ""},
		{"BGP for Services, aggregated", KindBGPAdvertisement, "", "spec: {serviceSelectors: [{}], aggregationLength: 24}", "serviceSelectors need"},
		{"peer", KindBGPPeer, "v1beta2", peer + "}", ""},
		{"peer with all", KindBGPPeer, "v1beta2", peer + ", localASN: 64502, sourceAddress: 192.0.2.2, peerPort: 1179, holdTime: 90s, keepaliveTime: 30s, connectTime: 10s, routerID: 192.0.2.2, nodeSelectors: " + selector + ", passwordSecret: {name: s}, bfdProfile: b, enableGracefulRestart: true, ebgpMultiHop: true, vrf: red, disableMP: false, dualStackAddressFamily: true}", ""},
		{"peer unnumbered", KindBGPPeer, "v1beta2", "spec: {myASN: 64500, dynamicASN: external, interface: eth0}", ""},
		{"peer without an own ASN", KindBGPPeer, "v1beta2", "spec: {peerASN: 64501, peerAddress: 192.0.2.1}", "myASN"},
		{"peer with ASN 0", KindBGPPeer, "v1beta2", "spec: {myASN: 0, peerASN: 64501, peerAddress: 192.0.2.1}", "own AS number"},
		{"peer with neither ASN", KindBGPPeer, "v1beta2", "spec: {myASN: 64500, peerAddress: 192.0.2.1}", "peerASN or dynamicASN"},
		{"peer with both ASNs", KindBGPPeer, "v1beta2", peer + ", dynamicASN: internal}", "peerASN or dynamicASN"},
		{"peer with another dynamic ASN", KindBGPPeer, "v1beta2", "spec: {myASN: 64500, dynamicASN: any, peerAddress: 192.0.2.1}", "dynamicASN"},
		{"peer with ASN above 32 bits", KindBGPPeer, "v1beta2", "spec: {myASN: 4294967296, peerASN: 64501, peerAddress: 192.0.2.1}", "myASN"},
		{"peer without an address", KindBGPPeer, "v1beta2", "spec: {myASN: 64500, peerASN: 64501}", "peerAddress or interface"},
		{"peer with address and interface", KindBGPPeer, "v1beta2", peer + ", interface: eth0}", "peerAddress or interface"},
		{"peer with two passwords", KindBGPPeer, "v1beta2", peer + ", password: x, passwordSecret: {name: s}}", "passwordSecret"},
		{"peer with port 0", KindBGPPeer, "v1beta2", peer + ", peerPort: 0}", "peerPort"},
		{"peer with connectTime 0", KindBGPPeer, "v1beta2", peer + ", connectTime: 0s}", "connectTime"},
		{"peer with a part of a second", KindBGPPeer, "v1beta2", peer + ", connectTime: 1500ms}", "whole seconds"},
		{"old peer", KindBGPPeer, "v1beta1", peer + ", holdTime: 90s, peerPort: 0, nodeSelectors: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}", ""},
		{"old peer without an ASN", KindBGPPeer, "v1beta1", "spec: {myASN: 64500, peerAddress: 192.0.2.1}", "peerASN"},
		{"BFD without anything", KindBFDProfile, "", "", ""},
		{"BFD with all", KindBFDProfile, "", "spec: {receiveInterval: 10, transmitInterval: 60000, detectMultiplier: 255, echoInterval: 50, echoMode: true, passiveMode: true, minimumTtl: 254}", ""},
		{"BFD too fast", KindBFDProfile, "", "spec: {receiveInterval: 9}", "receiveInterval"},
		{"BFD too slow", KindBFDProfile, "", "spec: {transmitInterval: 60001}", "transmitInterval"},
		{"BFD multiplier 1", KindBFDProfile, "", "spec: {detectMultiplier: 1}", "detectMultiplier"},
		{"BFD TTL 255", KindBFDProfile, "", "spec: {minimumTtl: 255}", "minimumTtl"},
		{"community", KindCommunity, "", "spec: {communities: [{name: a, value: '64500:1'}]}", ""},
		{"state", KindConfigurationState, "", "status: {result: Invalid, errorSummary: x, conditions: [{type: poolReconcilerValid, status: 'False', reason: ConfigurationError, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]}", ""},
		{"state of another result", KindConfigurationState, "", "status: {result: Fine}", "result"},
		{"L2 status", KindServiceL2Status, "", "{spec: {}, status: {node: n1, serviceName: s, serviceNamespace: d, interfaces: [{name: eth0}]}}", ""},
		{"BGP status", KindServiceBGPStatus, "", "status: {node: n1, serviceName: s, serviceNamespace: d, peers: [p]}", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.version == "" {
				tc.version = "v1beta1"
			}
			errs := strings.Join(store(t, definitions(t)[tc.kind], tc.version, content(t, tc.kind, tc.version, tc.text), nil), "\n")
			if tc.refused == "" && errs != "" || !strings.Contains(errs, tc.refused) {
				t.Errorf("got errors %q, want %q", errs, tc.refused)
			}
		})
	}
}

func TestWhatCannotBeChanged(t *testing.T) {
	const peer = "spec: {myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.1, enableGracefulRestart: "
	for _, tc := range []struct{ kind, version, old, text, refused string }{
		{KindBGPPeer, "v1beta2", peer + "true}", peer + "false}", "enableGracefulRestart"},
		{KindBGPPeer, "v1beta2", peer + "true}", peer + "true, holdTime: 9s}", ""},
		{KindServiceL2Status, "v1beta1", "status: {node: a}", "status: {node: b}", "status.node"},
		{KindServiceL2Status, "v1beta1", "status: {node: a}", "status: {node: a, interfaces: [{name: eth0}]}", ""},
		{KindServiceBGPStatus, "v1beta1", "status: {serviceName: a}", "status: {serviceName: b}", "status.serviceName"},
	} {
		old := content(t, tc.kind, tc.version, tc.old)
		errs := strings.Join(store(t, definitions(t)[tc.kind], tc.version, content(t, tc.kind, tc.version, tc.text), old), "\n")
		if tc.refused == "" && errs != "" || !strings.Contains(errs, tc.refused) {
			t.Errorf("%s %q: got errors %q, want %q", tc.kind, tc.text, errs, tc.refused)
		}
	}
}

func TestDefaults(t *testing.T) {
	pool := content(t, KindIPAddressPool, "v1beta1", "spec: {addresses: [192.0.2.0/28]}")
	store(t, definitions(t)[KindIPAddressPool], "v1beta1", pool, nil)
	if diff := cmp.Diff(map[string]any{"addresses": []any{"192.0.2.0/28"}, "autoAssign": true, "avoidBuggyIPs": false}, pool["spec"]); diff != "" {
		t.Error(diff)
	}
	peer := content(t, KindBGPPeer, "v1beta2", "spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}")
	store(t, definitions(t)[KindBGPPeer], "v1beta2", peer, nil)
	if port := peer["spec"].(map[string]any)["peerPort"]; port != int64(179) {
		t.Errorf("peerPort is %v", port)
	}
}

func TestDecodeAndEncode(t *testing.T) {
	text := content(t, KindL2Advertisement, "v1beta1", "spec: {ipAddressPools: [a], nodeSelectors: [{matchLabels: {a: b}}], preferredNodeSelectors: [{weight: 5, preference: {}}]}")
	ad, err := Decode[L2Advertisement](text)
	if err != nil {
		t.Fatal(err)
	}
	if ad.Name != "a" || ad.Spec.PreferredNodeSelectors[0].Weight != 5 {
		t.Errorf("decoded %+v", ad)
	}
	back, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&ad)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text["spec"], back["spec"]); diff != "" {
		t.Error(diff)
	}
	bad := content(t, KindIPAddressPool, "v1beta1", "spec: {addresses: {a: b}}")
	if _, err := Decode[IPAddressPool](bad); err == nil {
		t.Error("a map was decoded as a list of addresses")
	}
}
