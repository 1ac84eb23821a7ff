package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// converter makes MetalLB's objects of the ConfigMap, as MetalLB's own converter does. Names that the objects of the API
// have are theirs.
type converter struct {
	sources *sources
	config  configMap
}

// convert adds what the ConfigMap says to the sources, after the objects of the API.
func (c configMap) convert(s *sources) {
	v := converter{s, c}
	v.communities()
	v.bfdProfiles()
	v.peers()
	v.pools()
}

// part is the origin of a part of the ConfigMap.
func part(path, format string, args ...any) origin {
	return origin{object: configMapObject, part: path, what: fmt.Sprintf(format, args...)}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: Namespace}
}

func (v converter) communities() {
	for _, name := range slices.Sorted(maps.Keys(v.config.Communities)) {
		community := metallb.Community{ObjectMeta: meta("communities"), Spec: metallb.CommunitySpec{
			Communities: []metallb.CommunityAlias{{Name: name, Value: v.config.Communities[name]}},
		}}
		// One object for each, so that a bad one costs itself only.
		o := part("bgp-communities."+name, "community %q", name)
		o.scalar = true
		v.sources.communities = append(v.sources.communities, entry[metallb.Community]{community, o})
	}
}

func (v converter) bfdProfiles() {
	taken := namesIn(v.sources.bfdProfiles)
	for i, old := range v.config.BFDProfiles {
		o := part(fmt.Sprintf("bfd-profiles[%d]", i), "profile %q", old.Name)
		name := objectName(old.Name)
		if !v.claim(taken, name, "BFDProfile", o) {
			continue
		}
		v.sources.bfdProfiles = append(v.sources.bfdProfiles, entry[metallb.BFDProfile]{metallb.BFDProfile{
			ObjectMeta: meta(name),
			Spec: metallb.BFDProfileSpec{
				ReceiveInterval:  old.ReceiveInterval,
				TransmitInterval: old.TransmitInterval,
				DetectMultiplier: old.DetectMultiplier,
				EchoInterval:     old.EchoInterval,
				EchoMode:         old.EchoMode,
				PassiveMode:      old.PassiveMode,
				MinimumTTL:       old.MinimumTTL,
			},
		}, o})
	}
}

func (v converter) peers() {
	taken := namesIn(v.sources.peers)
	for i, old := range v.config.Peers {
		o := part(fmt.Sprintf("peers[%d]", i), "peer %d (%s)", i+1, old.PeerAddress)
		v.sources.peers = append(v.sources.peers, entry[metallb.BGPPeer]{metallb.BGPPeer{
			ObjectMeta: meta(free(taken, "peer", i+1)),
			Spec: metallb.BGPPeerSpec{
				MyASN:         old.MyASN,
				PeerASN:       old.PeerASN,
				PeerAddress:   old.PeerAddress,
				SourceAddress: old.SourceAddress,
				PeerPort:      old.PeerPort,
				HoldTime:      orDefault(old.HoldTime, defaultHoldTime.String()),
				KeepaliveTime: old.KeepaliveTime,
				RouterID:      old.RouterID,
				NodeSelectors: oldSelectors(old.NodeSelectors),
				Password:      old.Password,
				BFDProfile:    objectName(old.BFDProfile),
				EBGPMultiHop:  old.EBGPMultiHop,
			},
		}, o})
	}
}

func (v converter) pools() {
	taken := namesIn(v.sources.pools)
	l2 := namesIn(v.sources.l2)
	bgp := namesIn(v.sources.bgp)
	for i, old := range v.config.Pools {
		path := fmt.Sprintf("address-pools[%d]", i)
		o := part(path, "pool %q", old.Name)
		if err := checkProtocol(old); err != nil {
			v.sources.problems = append(v.sources.problems, o.problem(err, true))
			continue
		}
		name := objectName(old.Name)
		if !v.claim(taken, name, "IPAddressPool", o) {
			continue
		}
		v.sources.pools = append(v.sources.pools, entry[metallb.IPAddressPool]{metallb.IPAddressPool{
			ObjectMeta: meta(name),
			Spec:       metallb.IPAddressPoolSpec{Addresses: old.Addresses, AutoAssign: old.AutoAssign, AvoidBuggyIPs: old.AvoidBuggyIPs},
		}, o})
		if name != old.Name {
			v.sources.aliases[name] = old.Name
		}
		if old.Protocol == "layer2" {
			v.sources.l2 = append(v.sources.l2, entry[metallb.L2Advertisement]{metallb.L2Advertisement{
				ObjectMeta: meta(free(l2, "l2advertisement", 1)),
				Spec:       metallb.L2AdvertisementSpec{IPAddressPools: []string{name}},
			}, o})
			continue
		}
		for j, ad := range orDefaultAdvertisement(old.BGPAdvertisements) {
			v.sources.bgp = append(v.sources.bgp, entry[metallb.BGPAdvertisement]{metallb.BGPAdvertisement{
				ObjectMeta: meta(free(bgp, "bgpadvertisement", 1)),
				Spec: metallb.BGPAdvertisementSpec{
					AggregationLength:   ad.AggregationLength,
					AggregationLengthV6: ad.AggregationLengthV6,
					LocalPref:           ad.LocalPref,
					Communities:         ad.Communities,
					IPAddressPools:      []string{name},
				},
			}, part(fmt.Sprintf("%s.bgp-advertisements[%d]", path, j), "advertisement %d of pool %q", j+1, old.Name)})
		}
	}
}

func checkProtocol(old oldPool) *field.Error {
	path := field.NewPath("spec", "protocol")
	switch {
	case old.Protocol == "":
		return field.Required(path, "the protocol is missing; set layer2 or bgp")
	case old.Protocol != "layer2" && old.Protocol != "bgp":
		return field.Invalid(path, old.Protocol, fmt.Sprintf("protocol %q is not known; use layer2 or bgp", old.Protocol))
	case old.Protocol == "layer2" && len(old.BGPAdvertisements) > 0:
		return field.Forbidden(field.NewPath("spec", "bgpAdvertisements"), "a pool of protocol layer2 is not announced by BGP; remove this, or set protocol bgp")
	}
	return nil
}

// claim takes a name for a part of the ConfigMap, unless there is an object or another part that has it.
func (v converter) claim(taken map[string]bool, name, kind string, o origin) bool {
	path := field.NewPath("spec", "name")
	var err *field.Error
	switch {
	case name == "":
		err = field.Required(path, "the name is missing; set one")
	case taken[name]:
		err = field.Invalid(path, name, fmt.Sprintf("there is %s %q already; use another name, or remove one of them", article(kind), name))
	}
	if err != nil {
		v.sources.problems = append(v.sources.problems, o.problem(err, true))
		return false
	}
	taken[name] = true
	return true
}

func article(kind string) string {
	if strings.HasPrefix(kind, "I") {
		return "an " + kind
	}
	return "a " + kind
}

// free takes the first free name that is a prefix with a number.
func free(taken map[string]bool, prefix string, n int) string {
	for ; taken[fmt.Sprint(prefix, n)]; n++ {
	}
	taken[fmt.Sprint(prefix, n)] = true
	return fmt.Sprint(prefix, n)
}

func namesIn[T any, P object[T]](entries []entry[T]) map[string]bool {
	all := map[string]bool{}
	for i := range entries {
		if o := P(&entries[i].object); o.GetNamespace() == Namespace {
			all[o.GetName()] = true
		}
	}
	return all
}

var goodName = regexp.MustCompile(`^[a-z][-a-z0-9]{0,61}[a-z0-9]$`)

// objectName makes a name of the ConfigMap into one that an object may have, by the rules of MetalLB's converter: cut to
// 63 bytes, lower case, hyphens for underscores, from the first letter on. A name without a letter stays as it is.
func objectName(name string) string {
	if goodName.MatchString(name) {
		return name
	}
	s := strings.ReplaceAll(strings.ToLower(name[:min(len(name), 63)]), "_", "-")
	i := strings.IndexFunc(s, func(c rune) bool { return 'a' <= c && c <= 'z' })
	if i < 0 {
		return name
	}
	return s[i:]
}

func oldSelectors(old []oldSelector) []metav1.LabelSelector {
	var all []metav1.LabelSelector
	for _, o := range old {
		s := metav1.LabelSelector{MatchLabels: o.MatchLabels}
		for _, r := range o.MatchExpressions {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: r.Key, Operator: metav1.LabelSelectorOperator(r.Operator), Values: r.Values,
			})
		}
		all = append(all, s)
	}
	return all
}

// orDefaultAdvertisement returns the advertisements of a pool: one with the defaults if there are none.
func orDefaultAdvertisement(all []oldBGPAdvertisement) []oldBGPAdvertisement {
	if len(all) == 0 {
		return []oldBGPAdvertisement{{}}
	}
	return all
}

func orDefault(s, unset string) string {
	if s == "" {
		return unset
	}
	return s
}
