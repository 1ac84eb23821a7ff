package bgp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"minato/internal/loadbalancer/config"
)

// What a speaker does where nothing is configured.
const (
	// globalASN is what the library wants to have; each peer has a local AS number of its own in its place.
	globalASN = 64512

	defaultHold    = 90 * time.Second
	defaultConnect = 5 * time.Second // a router that comes back is found soon
	// restartTime is how long a peer keeps the routes while it waits for the next process.
	restartTime = 120 * time.Second
	// deferral is how long after a restart the routes wait for a peer that doesn't say that it has told its own.
	deferral = 5 * time.Second
	// afterReset is the pause after BFD has ended a session.
	afterReset = 2 * time.Second
	// maxReceived is how many routes a peer may announce per IP family: they aren't used, but the library keeps them.
	maxReceived = 100_000
)

func seconds(d, otherwise time.Duration) uint64 {
	if d == 0 {
		d = otherwise
	}
	return uint64((d + time.Second - 1) / time.Second)
}

// libraryPeer is a peer as the library wants it.
func libraryPeer(m *member, restarted bool) *api.Peer {
	p := &m.peer
	hold := seconds(p.HoldTime, defaultHold)
	out := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: m.address.String(), LocalAsn: p.LocalASN, PeerAsn: p.PeerASN, AuthPassword: p.Password, Vrf: m.table,
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: hold, KeepaliveInterval: seconds(p.KeepaliveTime, time.Duration(max(hold/3, 1))*time.Second),
			ConnectRetry: seconds(p.ConnectTime, defaultConnect), IdleHoldTimeAfterReset: seconds(afterReset, 0),
		}},
		Transport:    &api.Transport{RemotePort: uint32(p.Port), BindInterface: p.Interface},
		EbgpMultihop: &api.EbgpMultihop{Enabled: p.MultiHop, MultihopTtl: 255},
	}
	if p.Source.IsValid() {
		out.Transport.LocalAddress = p.Source.String()
	}
	if p.GracefulRestart {
		out.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(seconds(restartTime, 0)), DeferralTime: uint32(seconds(deferral, 0)), LocalRestarting: restarted,
		}
	}
	if p.carries(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
		out.AfiSafis = append(out.AfiSafis, libraryFamily(api.Family_AFI_IP, p.GracefulRestart))
	}
	if p.carries(netip.PrefixFrom(netip.IPv6Unspecified(), 0)) {
		out.AfiSafis = append(out.AfiSafis, libraryFamily(api.Family_AFI_IP6, p.GracefulRestart))
	}
	return out
}

func libraryFamily(afi api.Family_Afi, graceful bool) *api.AfiSafi {
	family := &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}
	return &api.AfiSafi{
		Config:            &api.AfiSafiConfig{Family: family, Enabled: true},
		MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: graceful}},
		PrefixLimits:      &api.PrefixLimit{Family: family, MaxPrefixes: maxReceived},
	}
}

// newTable is a VRF by which the library keeps a peer's routes apart. Its numbers never leave the process.
func newTable(name string, number uint32) (*api.Vrf, error) {
	rd, err := apiutil.MarshalRD(bgp.NewRouteDistinguisherTwoOctetAS(0, number))
	if err != nil {
		return nil, fmt.Errorf("number a table: %w", err)
	}
	target := bgp.NewTwoOctetAsSpecificExtended(bgp.EC_SUBTYPE_ROUTE_TARGET, 0, number, true)
	targets, err := apiutil.MarshalRTs([]bgp.ExtendedCommunityInterface{target})
	if err != nil {
		return nil, fmt.Errorf("number a table: %w", err)
	}
	return &api.Vrf{Name: name, Id: number, Rd: rd, ImportRt: targets, ExportRt: targets}, nil
}

// libraryPaths are routes as the library wants them.
func libraryPaths(routes []Route) ([]*apiutil.Path, error) {
	paths := make([]*apiutil.Path, 0, len(routes))
	now := time.Now().Unix()
	for _, r := range routes {
		path, err := libraryPath(r)
		if err != nil {
			return nil, fmt.Errorf("route %v: %w", r.Prefix, err)
		}
		path.Age = now
		paths = append(paths, path)
	}
	return paths, nil
}

func libraryPath(r Route) (*apiutil.Path, error) {
	nlri, err := bgp.NewIPAddrPrefix(r.Prefix)
	if err != nil {
		return nil, err
	}
	attrs := []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(0)}
	family, next := bgp.RF_IPv4_UC, r.NextHop
	if r.Prefix.Addr().Is4() {
		if !next.IsValid() {
			next = netip.IPv4Unspecified() // the library puts in the session's own address
		}
		hop, err := bgp.NewPathAttributeNextHop(next)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, hop)
	} else {
		family = bgp.RF_IPv6_UC
		if !next.IsValid() {
			next = netip.IPv6Unspecified()
		}
		reach, err := bgp.NewPathAttributeMpReachNLRI(family, []bgp.PathNLRI{{NLRI: nlri}}, next)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, reach)
	}
	if r.LocalPref != 0 {
		attrs = append(attrs, bgp.NewPathAttributeLocalPref(r.LocalPref))
	}
	return &apiutil.Path{Family: family, Nlri: nlri, Attrs: append(attrs, communityAttributes(r.Communities)...)}, nil
}

func communityAttributes(list []config.Community) []bgp.PathAttributeInterface {
	var standard []uint32
	var large []*bgp.LargeCommunity
	for _, c := range list {
		if c.Large {
			large = append(large, bgp.NewLargeCommunity(c.Parts[0], c.Parts[1], c.Parts[2]))
		} else {
			standard = append(standard, c.Parts[0]<<16|c.Parts[1])
		}
	}
	var attrs []bgp.PathAttributeInterface
	if len(standard) > 0 {
		attrs = append(attrs, bgp.NewPathAttributeCommunities(standard))
	}
	if len(large) > 0 {
		attrs = append(attrs, bgp.NewPathAttributeLargeCommunities(large))
	}
	return attrs
}
