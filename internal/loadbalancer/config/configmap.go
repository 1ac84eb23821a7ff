package config

import (
	"reflect"

	"sigs.k8s.io/yaml"
)

// configMapObject is the ConfigMap that MetalLB read until version 0.12.
var configMapObject = Object{Kind: "ConfigMap", Namespace: Namespace, Name: "config"}

// configMap is the text of its key config.
type configMap struct {
	Peers       []oldPeer         `json:"peers"`
	Communities map[string]string `json:"bgp-communities"`
	Pools       []oldPool         `json:"address-pools"`
	BFDProfiles []oldBFDProfile   `json:"bfd-profiles"`
}

type oldPeer struct {
	MyASN         int64         `json:"my-asn"`
	PeerASN       int64         `json:"peer-asn"`
	PeerAddress   string        `json:"peer-address"`
	SourceAddress string        `json:"source-address"`
	PeerPort      int64         `json:"peer-port"`
	HoldTime      string        `json:"hold-time"`
	KeepaliveTime string        `json:"keepalive-time"`
	RouterID      string        `json:"router-id"`
	NodeSelectors []oldSelector `json:"node-selectors"`
	Password      string        `json:"password"`
	BFDProfile    string        `json:"bfd-profile"`
	EBGPMultiHop  bool          `json:"ebgp-multihop"`
}

type oldSelector struct {
	MatchLabels      map[string]string `json:"match-labels"`
	MatchExpressions []oldRequirement  `json:"match-expressions"`
}

type oldRequirement struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

type oldPool struct {
	Name              string                `json:"name"`
	Protocol          string                `json:"protocol"`
	Addresses         []string              `json:"addresses"`
	AvoidBuggyIPs     bool                  `json:"avoid-buggy-ips"`
	AutoAssign        *bool                 `json:"auto-assign"`
	BGPAdvertisements []oldBGPAdvertisement `json:"bgp-advertisements"`
}

type oldBGPAdvertisement struct {
	AggregationLength   *int64   `json:"aggregation-length"`
	AggregationLengthV6 *int64   `json:"aggregation-length-v6"`
	LocalPref           int64    `json:"localpref"`
	Communities         []string `json:"communities"`
}

type oldBFDProfile struct {
	Name             string `json:"name"`
	ReceiveInterval  *int64 `json:"receive-interval"`
	TransmitInterval *int64 `json:"transmit-interval"`
	DetectMultiplier *int64 `json:"detect-multiplier"`
	EchoInterval     *int64 `json:"echo-interval"`
	EchoMode         bool   `json:"echo-mode"`
	PassiveMode      bool   `json:"passive-mode"`
	MinimumTTL       *int64 `json:"minimum-ttl"`
}

// parseConfigMap reads the text. Like MetalLB it takes the whole text or nothing: a key that isn't known, or that is
// there twice, may be a typing error that changes what the rest means.
func parseConfigMap(text string) (configMap, []Problem) {
	refuse := func(field, message string) Problem {
		return Problem{Object: configMapObject, Field: field, Message: message + "; the whole ConfigMap is left out", Unused: true}
	}
	var value any
	if err := yaml.UnmarshalStrict([]byte(text), &value); err != nil {
		return configMap{}, []Problem{refuse("config", "the text is not valid YAML ("+err.Error()+")")}
	}
	var problems []Problem
	for _, m := range mismatches("", value, reflect.TypeFor[configMap]()) {
		problems = append(problems, refuse(m.path, m.message))
	}
	if len(problems) > 0 {
		return configMap{}, problems
	}
	var c configMap
	if err := yaml.UnmarshalStrict([]byte(text), &c); err != nil {
		return configMap{}, []Problem{refuse("config", "the text can't be read ("+err.Error()+")")}
	}
	return c, nil
}
