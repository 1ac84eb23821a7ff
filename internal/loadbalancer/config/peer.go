package config

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

const (
	defaultPeerPort = 179
	// defaultHoldTime is what RFC 4271 suggests and MetalLB asked for from the start.
	defaultHoldTime = 90 * time.Second
	maxSeconds      = math.MaxUint16 * time.Second
	maxPassword     = 80 // bytes of a key for TCP MD5 signatures that Linux takes
)

// CheckPeer returns what keeps a BGPPeer from being used. Of the other peers it ignores the peer itself, those of other
// namespaces and those that have errors themselves.
func CheckPeer(object metallb.BGPPeer, others []metallb.BGPPeer) field.ErrorList {
	var peers []Peer
	for _, o := range others {
		if o.Namespace != Namespace || o.Name == object.Name {
			continue
		}
		if p, errs := readPeer(o); len(errs) == 0 {
			peers = append(peers, p)
		}
	}
	_, errs := checkPeer(object, peers)
	return errs
}

func checkPeer(object metallb.BGPPeer, others []Peer) (Peer, field.ErrorList) {
	peer, errs := readPeer(object)
	if len(errs) > 0 {
		return peer, errs
	}
	for _, o := range others {
		if peer.twin(o) {
			name, where := "peerAddress", peer.Address.String()
			if peer.Interface != "" {
				name, where = "interface", peer.Interface
			}
			errs = append(errs, field.Invalid(field.NewPath("spec", name), where, fmt.Sprintf(
				"peer %q has %s too, and nodes have one session with a router; use nodeSelectors that have no node in common", o.Name, where)))
		}
	}
	return peer, errs
}

// twin tells whether two peers are one router for at least one node. With different selectors they may have no node in
// common, which can't be seen here.
func (p *Peer) twin(o Peer) bool {
	return p.Address == o.Address && p.Interface == o.Interface && p.Port == o.Port && p.VRF == o.VRF &&
		(len(p.NodeSelectors) == 0 || len(o.NodeSelectors) == 0 || reflect.DeepEqual(p.NodeSelectors, o.NodeSelectors))
}

// peerReader collects the errors of a peer's fields.
type peerReader struct {
	spec metallb.BGPPeerSpec
	path *field.Path
	errs field.ErrorList
}

func (r *peerReader) invalid(name string, value any, format string, args ...any) {
	r.errs = append(r.errs, field.Invalid(r.path.Child(name), value, fmt.Sprintf(format, args...)))
}

func readPeer(object metallb.BGPPeer) (Peer, field.ErrorList) {
	r := peerReader{spec: object.Spec, path: field.NewPath("spec"), errs: checkMeta(&object)}
	nodes, errs := selectors(r.path.Child("nodeSelectors"), r.spec.NodeSelectors)
	r.errs = append(r.errs, errs...)
	peer := Peer{
		Name:            object.Name,
		Object:          objectOf(metallb.KindBGPPeer, &object),
		DynamicASN:      r.spec.DynamicASN,
		Interface:       r.spec.Interface,
		NodeSelectors:   nodes,
		Password:        r.spec.Password,
		PasswordSecret:  r.spec.PasswordSecret.Name,
		BFDProfile:      r.spec.BFDProfile,
		GracefulRestart: r.spec.EnableGracefulRestart,
		MultiHop:        r.spec.EBGPMultiHop,
		VRF:             r.spec.VRF,
		DualStack:       r.spec.DualStackAddressFamily,
	}
	r.numbers(&peer)
	r.addresses(&peer)
	r.times(&peer)
	r.password()
	return peer, r.errs
}

func (r *peerReader) numbers(peer *Peer) {
	asn := func(name string, value int64) uint32 {
		if value < 0 || value > math.MaxUint32 {
			r.invalid(name, value, "%d is no AS number; use one from 1 to %d", value, uint32(math.MaxUint32))
			return 0
		}
		return uint32(value)
	}
	peer.MyASN = asn("myASN", r.spec.MyASN)
	peer.PeerASN = asn("peerASN", r.spec.PeerASN)
	peer.LocalASN = asn("localASN", r.spec.LocalASN)
	if r.spec.MyASN == 0 {
		r.invalid("myASN", 0, "the own AS number is missing; set one from 1 to %d", uint32(math.MaxUint32))
	}
	switch dynamic := r.spec.DynamicASN; {
	case dynamic != "" && dynamic != "internal" && dynamic != "external":
		r.invalid("dynamicASN", dynamic, "%q is not known; use internal or external, or peerASN instead", dynamic)
	case dynamic != "" && r.spec.PeerASN != 0:
		r.invalid("dynamicASN", dynamic, "peerASN is set too; remove one of them")
	case dynamic == "" && r.spec.PeerASN == 0:
		r.invalid("peerASN", 0, "the peer's AS number is missing; set peerASN, or dynamicASN")
	}
	if r.spec.EBGPMultiHop && (r.spec.DynamicASN == "internal" || r.spec.PeerASN == r.spec.MyASN && r.spec.MyASN != 0) {
		r.invalid("ebgpMultiHop", true, "the peer is in the own AS, where the number of hops is not limited; remove the field")
	}
	peer.Port = defaultPeerPort
	if p := r.spec.PeerPort; p < 0 || p > math.MaxUint16 {
		r.invalid("peerPort", p, "%d is no port; use one from 1 to %d", p, math.MaxUint16)
	} else if p != 0 {
		peer.Port = uint16(p)
	}
}

func (r *peerReader) addresses(peer *Peer) {
	addr := func(name, text string) netip.Addr {
		if text == "" {
			return netip.Addr{}
		}
		a, err := parseAddr(text)
		if err != nil {
			r.invalid(name, text, "%v; write one such as 192.0.2.1 or 2001:db8::1", err)
		}
		return a
	}
	peer.Address = addr("peerAddress", r.spec.PeerAddress)
	peer.SourceAddress = addr("sourceAddress", r.spec.SourceAddress)
	peer.RouterID = addr("routerID", r.spec.RouterID)
	switch {
	case r.spec.PeerAddress == "" && r.spec.Interface == "":
		r.invalid("peerAddress", "", "the peer's address is missing; set peerAddress, or interface")
	case r.spec.PeerAddress != "" && r.spec.Interface != "":
		r.invalid("interface", r.spec.Interface, "peerAddress is set too; remove one of them")
	}
	if peer.RouterID.Is6() {
		r.invalid("routerID", r.spec.RouterID, "a BGP identifier has the form of an IPv4 address; write one such as 192.0.2.1")
	}
	if a, s := peer.Address, peer.SourceAddress; a.IsValid() && s.IsValid() && a.BitLen() != s.BitLen() {
		r.invalid("sourceAddress", r.spec.SourceAddress, "%v is of another IP family than the peer's address %v; use one of the same family", s, a)
	}
}

// times converts the times to whole seconds, which is what BGP knows.
func (r *peerReader) times(peer *Peer) {
	parse := func(name, text string) (time.Duration, bool) {
		if text == "" {
			return 0, false
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > maxSeconds {
			r.invalid(name, text, "%q is no duration from 0s to 65535s; write one such as 90s", text)
			return 0, false
		}
		if d > 0 && d < time.Second {
			r.invalid(name, text, "%v is less than a second; use 1s or more", d)
			return 0, false
		}
		return d.Truncate(time.Second), true
	}
	errs := len(r.errs)
	hold, hasHold := parse("holdTime", r.spec.HoldTime)
	keepalive, hasKeepalive := parse("keepaliveTime", r.spec.KeepaliveTime)
	connect, _ := parse("connectTime", r.spec.ConnectTime)
	if len(r.errs) > errs {
		return
	}
	switch {
	case !hasHold && hasKeepalive:
		hold = min(3*keepalive, maxSeconds)
	case !hasHold:
		hold = defaultHoldTime
	}
	if hold != 0 && hold < 3*time.Second {
		r.invalid("holdTime", r.spec.HoldTime, "%v is neither 0s nor 3s or more", hold)
	}
	if keepalive > hold {
		r.invalid("keepaliveTime", r.spec.KeepaliveTime, "%v is longer than holdTime, %v; use a third of that", keepalive, hold)
	}
	peer.HoldTime, peer.KeepaliveTime, peer.ConnectTime = hold, keepalive, connect
}

func (r *peerReader) password() {
	if r.spec.Password != "" && r.spec.PasswordSecret.Name != "" {
		r.errs = append(r.errs, field.Forbidden(r.path.Child("password"), "passwordSecret is set too; remove one of them"))
	}
	if n := len(r.spec.Password); n > maxPassword {
		r.errs = append(r.errs, field.TooLong(r.path.Child("password"), "", maxPassword))
		r.errs[len(r.errs)-1].Detail = fmt.Sprintf("the password has %d bytes; use one of %d at most", n, maxPassword)
	}
}

// unhonouredPeer returns the fields of a peer that are set and not followed, though the peer is used.
func unhonouredPeer(spec metallb.BGPPeerSpec) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if ns := spec.PasswordSecret.Namespace; ns != "" && ns != Namespace && spec.PasswordSecret.Name != "" {
		errs = append(errs, field.Invalid(path.Child("passwordSecret", "namespace"), ns, fmt.Sprintf(
			"Secrets are read in the namespace %s alone, and so is %q; create it there", Namespace, spec.PasswordSecret.Name)))
	}
	if spec.DisableMP && spec.DualStackAddressFamily {
		errs = append(errs, field.Invalid(path.Child("disableMP"), true, "it contradicts dualStackAddressFamily, which is followed; remove disableMP"))
	}
	return errs
}
