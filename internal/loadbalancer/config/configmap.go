package config

import (
	"reflect"

	"go.yaml.in/yaml/v2" // as MetalLB did: other decoders turn the text yes of a label into the text true
)

// configMapObject is the ConfigMap that MetalLB read until version 0.12.
var configMapObject = Object{Kind: "ConfigMap", Namespace: Namespace, Name: "config"}

// configMap is the text of its key config.
type configMap struct {
	Peers       []oldPeer         `yaml:"peers"`
	Communities map[string]string `yaml:"bgp-communities"`
	Pools       []oldPool         `yaml:"address-pools"`
	BFDProfiles []oldBFDProfile   `yaml:"bfd-profiles"`
}

type oldPeer struct {
	MyASN         int64         `yaml:"my-asn"`
	PeerASN       int64         `yaml:"peer-asn"`
	PeerAddress   string        `yaml:"peer-address"`
	SourceAddress string        `yaml:"source-address"`
	PeerPort      int64         `yaml:"peer-port"`
	HoldTime      string        `yaml:"hold-time"`
	KeepaliveTime string        `yaml:"keepalive-time"`
	RouterID      string        `yaml:"router-id"`
	NodeSelectors []oldSelector `yaml:"node-selectors"`
	Password      string        `yaml:"password"`
	BFDProfile    string        `yaml:"bfd-profile"`
	EBGPMultiHop  bool          `yaml:"ebgp-multihop"`
}

type oldSelector struct {
	MatchLabels      map[string]string `yaml:"match-labels"`
	MatchExpressions []oldRequirement  `yaml:"match-expressions"`
}

type oldRequirement struct {
	Key      string   `yaml:"key"`
	Operator string   `yaml:"operator"`
	Values   []string `yaml:"values"`
}

type oldPool struct {
	Name              string                `yaml:"name"`
	Protocol          string                `yaml:"protocol"`
	Addresses         []string              `yaml:"addresses"`
	AvoidBuggyIPs     bool                  `yaml:"avoid-buggy-ips"`
	AutoAssign        *bool                 `yaml:"auto-assign"`
	BGPAdvertisements []oldBGPAdvertisement `yaml:"bgp-advertisements"`
}

type oldBGPAdvertisement struct {
	AggregationLength   *int64   `yaml:"aggregation-length"`
	AggregationLengthV6 *int64   `yaml:"aggregation-length-v6"`
	LocalPref           int64    `yaml:"localpref"`
	Communities         []string `yaml:"communities"`
}

type oldBFDProfile struct {
	Name             string `yaml:"name"`
	ReceiveInterval  *int64 `yaml:"receive-interval"`
	TransmitInterval *int64 `yaml:"transmit-interval"`
	DetectMultiplier *int64 `yaml:"detect-multiplier"`
	EchoInterval     *int64 `yaml:"echo-interval"`
	EchoMode         bool   `yaml:"echo-mode"`
	PassiveMode      bool   `yaml:"passive-mode"`
	MinimumTTL       *int64 `yaml:"minimum-ttl"`
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
	wrong := mismatches("", value, reflect.TypeFor[configMap]())
	for _, m := range wrong[:min(len(wrong), maxErrors)] {
		problems = append(problems, refuse(orDefault(m.path, "config"), m.message))
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
