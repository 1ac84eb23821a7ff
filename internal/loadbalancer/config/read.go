package config

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// DefaultPool is the name of the cluster's own pool.
const DefaultPool = "minato-default"

// sources are all objects with their origins in the order in which they are read: those of the API by age, then those
// of the ConfigMap as written. Of two that exclude each other the first is used.
type sources struct {
	pools       []entry[metallb.IPAddressPool]
	l2          []entry[metallb.L2Advertisement]
	bgp         []entry[metallb.BGPAdvertisement]
	peers       []entry[metallb.BGPPeer]
	bfdProfiles []entry[metallb.BFDProfile]
	communities []entry[metallb.Community]
	problems    []Problem
	// aliases are the names of pools as the ConfigMap has them, by the names that were made of them.
	aliases map[string]string
}

func (o Objects) sources() *sources {
	s := &sources{
		problems:    slices.Clone(o.Problems),
		aliases:     map[string]string{},
		pools:       entries(metallb.KindIPAddressPool, o.Pools),
		l2:          entries(metallb.KindL2Advertisement, o.L2Advertisements),
		bgp:         entries(metallb.KindBGPAdvertisement, o.BGPAdvertisements),
		peers:       entries(metallb.KindBGPPeer, o.Peers),
		bfdProfiles: entries(metallb.KindBFDProfile, o.BFDProfiles),
		communities: entries(metallb.KindCommunity, o.Communities),
	}
	if o.ConfigMap != nil {
		c, problems := parseConfigMap(*o.ConfigMap)
		s.problems = append(s.problems, problems...)
		c.convert(s)
	}
	return s
}

func entries[T any, P object[T]](kind string, list []T) []entry[T] {
	var all []entry[T]
	for _, o := range byAge[T, P](list) {
		all = append(all, entry[T]{o, origin{object: objectOf(kind, P(&o))}})
	}
	return all
}

// Read makes the model of all objects. What is wrong with an object costs that object only, and is told in the
// problems.
func Read(o Objects) Config {
	s := o.sources()
	c := Config{Problems: s.problems}
	c.readPools(s, o.DefaultRanges)
	known := c.readCommunities(s)
	c.readL2(s)
	c.readBGP(s, known)
	c.readBFD(s)
	c.readPeers(s)
	c.checkPeerNames(s)
	c.sort()
	return c
}

// tell adds errors to the problems, and tells whether there were any.
func (c *Config) tell(o origin, errs field.ErrorList, left bool) bool {
	for _, err := range errs {
		c.Problems = append(c.Problems, o.problem(err, left))
	}
	return len(errs) > 0
}

func (c *Config) readPools(s *sources, defaults []Range) {
	own := len(defaults) > 0
	used := new(index)
	for _, e := range s.pools {
		pool, errs := checkPool(e.object, used)
		if c.tell(e.origin, errs, true) {
			continue
		}
		if pool.Name == DefaultPool && own {
			own = false
			c.tell(e.origin, field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), pool.Name,
				"the cluster's own pool has this name, and is not used because of that; use another name")}, false)
		}
		pool.Object, pool.Alias = e.origin.object, s.aliases[pool.Name]
		c.Pools = append(c.Pools, pool)
		used.insert(pool)
	}
	if own {
		c.Pools = append(c.Pools, Pool{Name: DefaultPool, Ranges: slices.Clone(defaults), AutoAssign: true, Default: true})
	}
}

func (c *Config) readCommunities(s *sources) aliases {
	known := aliases{}
	for _, e := range s.communities {
		c.tell(e.origin, known.add(e.object), true)
	}
	return known
}

func (c *Config) readL2(s *sources) {
	for _, e := range s.l2 {
		ad, choice, errs := readL2(e.object)
		if c.tell(e.origin, errs, true) {
			continue
		}
		ad.Object = e.origin.object
		ad.Pools = namesOf(c.choose(e.origin, choice))
		c.L2 = append(c.L2, ad)
	}
}

// choose returns the pools of an advertisement. A pool of the ConfigMap that is not used has told so itself.
func (c *Config) choose(o origin, choice poolChoice) []Pool {
	pools, errs := choice.resolve(c.Pools)
	if o.part == "" {
		c.tell(o, errs, false)
	}
	return pools
}

func (c *Config) readBGP(s *sources, known aliases) {
	for _, e := range s.bgp {
		ad, choice, errs := readBGP(e.object, known)
		_, _, unknown := known.resolve(field.NewPath("spec", "communities"), e.object.Spec.Communities)
		if c.tell(e.origin, append(errs, unknown...), true) {
			continue
		}
		if n := e.object.Spec.ASPathPrepend; n > 0 {
			c.tell(e.origin, field.ErrorList{field.Forbidden(field.NewPath("spec", "asPathPrepend"),
				"a longer AS_PATH is not supported: routes have the usual one; remove the field")}, false)
		}
		ad.Object = e.origin.object
		ad.Pools = namesOf(c.fitting(e.origin, &ad, c.choose(e.origin, choice)))
		c.BGP = append(c.BGP, ad)
	}
}

// fitting returns the pools that an advertisement can announce without harm to others.
func (c *Config) fitting(o origin, ad *BGPAdvertisement, pools []Pool) []Pool {
	return slices.DeleteFunc(pools, func(pool Pool) bool {
		if r, length, bad := ad.tooShort(pool); bad {
			name := "aggregationLength"
			if r.First.Is6() {
				name += "V6"
			}
			return c.tell(o, field.ErrorList{field.Invalid(field.NewPath("spec", name), length, fmt.Sprintf(
				"%v of pool %q is smaller than a prefix of length %d, which would take in addresses of others; pool %q is not announced by it, use %d or more",
				r, pool.Name, length, pool.Name, r.widest()))}, false)
		}
		for i := range c.BGP {
			other := &c.BGP[i]
			if _, also := slices.BinarySearch(other.Pools, pool.Name); also && ad.conflicts(other, pool) {
				return c.tell(o, field.ErrorList{field.Invalid(field.NewPath("spec", "localPref"), ad.LocalPref, fmt.Sprintf(
					"advertisement %q announces the same prefixes of pool %q with localPref %d; pool %q is not announced by this one, use the same localPref or other peers",
					other.Name, pool.Name, other.LocalPref, pool.Name))}, false)
			}
		}
		return false
	})
}

func (c *Config) readBFD(s *sources) {
	for _, e := range s.bfdProfiles {
		profile, errs := readBFD(e.object)
		if c.tell(e.origin, errs, true) {
			continue
		}
		c.tell(e.origin, unhonouredBFD(e.object.Spec), false)
		profile.Object = e.origin.object
		c.BFDProfiles = append(c.BFDProfiles, profile)
	}
}

func (c *Config) readPeers(s *sources) {
	for _, e := range s.peers {
		peer, errs := checkPeer(e.object, c.Peers)
		if peer.VRF != "" {
			errs = append(errs, field.Forbidden(field.NewPath("spec", "vrf"),
				"VRFs are not supported, and outside of it another router may have the address; use a peer that is reached without a VRF"))
		}
		if c.tell(e.origin, errs, true) {
			continue
		}
		c.tell(e.origin, unhonouredPeer(e.object.Spec), false)
		if err := c.checkProfile(&peer); err != nil {
			c.tell(e.origin, field.ErrorList{err}, false)
			peer.BFDProfile = ""
		}
		peer.Object = e.origin.object
		c.Peers = append(c.Peers, peer)
	}
}

// checkProfile tells why a peer's BFD profile can't be used. The session goes on without it.
func (c *Config) checkProfile(peer *Peer) *field.Error {
	path := field.NewPath("spec", "bfdProfile")
	switch {
	case peer.BFDProfile == "":
		return nil
	case !slices.ContainsFunc(c.BFDProfiles, func(p BFDProfile) bool { return p.Name == peer.BFDProfile }):
		err := field.NotFound(path, peer.BFDProfile)
		err.Detail = fmt.Sprintf("profile %q doesn't exist or is not used, and the session goes on without BFD; create it or correct it", peer.BFDProfile)
		return err
	}
	return nil
}

// checkPeerNames finds names of peers in advertisements that no peer has. They stay in the model, where an empty list
// would be all peers.
func (c *Config) checkPeerNames(s *sources) {
	exists := setOf(c.Peers, func(p Peer) string { return p.Name })
	for _, e := range s.bgp {
		for i, name := range e.object.Spec.Peers {
			if !exists[name] {
				err := field.NotFound(field.NewPath("spec", "peers").Index(i), name)
				err.Detail = fmt.Sprintf("peer %q doesn't exist or is not used; create it or correct it", name)
				c.tell(e.origin, field.ErrorList{err}, false)
			}
		}
	}
}

func (c *Config) sort() {
	slices.SortStableFunc(c.Pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(c.L2, func(a, b L2Advertisement) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(c.BGP, func(a, b BGPAdvertisement) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(c.Peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(c.BFDProfiles, func(a, b BFDProfile) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(c.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Object.Kind, b.Object.Kind), cmp.Compare(a.Object.Namespace, b.Object.Namespace),
			cmp.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
}
