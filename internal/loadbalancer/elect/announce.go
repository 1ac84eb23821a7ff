package elect

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"minato/internal/loadbalancer/config"
)

// Announce elects the node that answers for an address in layer 2. addr is one of the Service's addresses, nodes are
// all nodes of the cluster, and ads all advertisements. The default pool is announced from every node, whether or not
// an advertisement names it; those that do can only prefer some nodes.
func Announce(svc Service, addr netip.Addr, nodes []Node, ads []config.L2Advertisement, isDefaultPool bool) Announcement {
	e := election{svc: &svc, seat: svc.seat(addr), everyLabelled: allLabelled(nodes), implicit: isDefaultPool}
	reason, message := e.advertisements(ads)
	e.nodes = byName(nodes)
	e.candidates = make([]Candidate, 0, len(e.nodes))
	for i := range e.nodes {
		e.add(&e.nodes[i])
	}
	e.sort()
	out := Announcement{Candidates: e.candidates, Reason: Elected}
	switch {
	case !addr.IsValid():
		out.Reason, out.Message = NoAddress, "The Service has no address yet."
	case reason != "":
		out.Reason, out.Message = reason, message
	case !svc.anywhere():
		out.Reason = NoEndpoints
		out.Message = "Nobody announces the address, because the Service has no endpoint that is ready or serving; start a Pod that its selector finds, or see why those that run aren't ready."
	case len(e.candidates) == 0 || e.candidates[0].Rank == 0:
		out.Reason, out.Message = e.nobody()
	default:
		out.Node = e.candidates[0].Node
		out.Interfaces = e.interfaces(out.Node)
		out.Message = e.elected()
	}
	if out.Node == "" {
		e.withdraw(out.Candidates)
	}
	return out
}

// election is one run of Announce.
type election struct {
	svc  *Service
	seat netip.Addr
	// implicit is the advertisement of the default pool, which no object is needed for.
	implicit      bool
	ads           []*config.L2Advertisement
	everyLabelled bool
	nodes         []Node // by name
	candidates    []Candidate
}

// advertisements takes those that are for the Service, or tells why it can't be announced at all.
func (e *election) advertisements(ads []config.L2Advertisement) (Reason, string) {
	pool := e.svc.Pool
	named, selected := false, false
	for i := range ads {
		ad := &ads[i]
		if !slices.Contains(ad.Pools, pool) {
			continue
		}
		named = true
		if len(ad.ServiceSelectors) > 0 && !matchesAny(ad.ServiceSelectors, e.svc.Labels) {
			continue
		}
		selected = selected || len(ad.ServiceSelectors) > 0
		e.ads = append(e.ads, ad)
	}
	switch {
	case e.implicit:
	case !named:
		return NoMatchingAdvertisement, fmt.Sprintf("Nobody announces the address in layer 2, because no L2Advertisement is for pool %s; create one in namespace %s that names the pool, or that names no pool and so is for all.", pool, config.Namespace)
	case len(e.ads) == 0:
		return NoMatchingAdvertisement, fmt.Sprintf("Nobody announces the address in layer 2, because the L2Advertisements for pool %s have serviceSelectors, and none matches the Service's labels.", pool)
	case selected && e.svc.Shared:
		return SharedIPWithServiceSelector, "Nobody announces the address in layer 2, because the Service may share it and an L2Advertisement selects the Service by its labels: those that share an address could be announced differently. Remove the serviceSelectors or the annotation " + AnnotationShared + "."
	}
	return "", ""
}

func matchesAny(selectors []labels.Selector, set labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s != nil && s.Matches(set) })
}

// selects tells whether nodeSelectors take a node; none take every node.
func selects(selectors []labels.Selector, node labels.Set) bool {
	return len(selectors) == 0 || matchesAny(selectors, node)
}

func (e *election) add(n *Node) {
	sum := sha256.Sum256([]byte(n.Name + "#" + e.seat.String()))
	c := Candidate{Node: n.Name, Hash: hex.EncodeToString(sum[:])}
	advertised := e.implicit
	for _, ad := range e.ads {
		if !selects(ad.NodeSelectors, n.Labels) {
			continue
		}
		advertised = true
		for _, p := range ad.Preferred {
			if p.Selector != nil && p.Selector.Matches(n.Labels) {
				c.Score += p.Weight
			}
		}
	}
	c.Excluded, c.Why = e.excluded(n, advertised)
	e.candidates = append(e.candidates, c)
}

// excluded asks about liveness last, so that a node with this reason alone is one that others may hear.
func (e *election) excluded(n *Node, advertised bool) (Reason, string) {
	switch {
	case n.NetworkUnavailable:
		return NodeNetworkUnavailable, "its condition NetworkUnavailable is True"
	case n.labelled() && !e.everyLabelled:
		return NodeLabeledExcludeBalancers, "it has the label " + corev1.LabelNodeExcludeBalancers
	case !advertised:
		return NoMatchingAdvertisement, "no L2Advertisement for the pool and the Service selects it"
	case e.svc.Local && !e.svc.on(n.Name):
		return NoLocalEndpoints, "it has no endpoint that is ready or serving, and the external traffic policy is Local"
	case !n.Alive:
		return NodeNotAlive, "it isn't heard"
	}
	return "", ""
}

// sort puts candidates in their places and says why they have them.
func (e *election) sort() {
	slices.SortFunc(e.candidates, func(a, b Candidate) int {
		if (a.Excluded == "") != (b.Excluded == "") {
			return strings.Compare(string(a.Excluded), string(b.Excluded)) // the empty one first
		}
		if a.Excluded != "" {
			return strings.Compare(a.Node, b.Node)
		}
		return merit(&a, &b)
	})
	for i := range e.candidates {
		c := &e.candidates[i]
		if c.Excluded != "" {
			return
		}
		c.Rank = i + 1
		switch {
		case i == 0 && (len(e.candidates) == 1 || e.candidates[1].Excluded != ""):
			c.Why = "it is the only node that may"
		case i == 0 && c.Score > e.candidates[1].Score:
			c.Why = fmt.Sprintf("it has the highest preference, %d", c.Score)
		case i == 0:
			c.Why = "its hash is the lowest" + among(c)
		case c.Score < e.candidates[i-1].Score:
			c.Why = fmt.Sprintf("its preference is %d, that of the node before it %d", c.Score, e.candidates[i-1].Score)
		default:
			c.Why = "its hash is higher than that of the node before it"
		}
	}
}

func among(c *Candidate) string {
	if c.Score == 0 {
		return ""
	}
	return fmt.Sprintf(" of the nodes with preference %d", c.Score)
}

// merit orders nodes whatever may exclude them. It is total, since names differ.
func merit(a, b *Candidate) int {
	return cmp.Or(-cmp.Compare(a.Score, b.Score), strings.Compare(a.Hash, b.Hash), strings.Compare(a.Node, b.Node))
}

// interfaces are those of all advertisements that select the node; one without any is for every uplink.
func (e *election) interfaces(node string) []string {
	if e.implicit {
		return nil
	}
	at, _ := slices.BinarySearchFunc(e.nodes, node, func(n Node, name string) int { return strings.Compare(n.Name, name) })
	var out []string
	for _, ad := range e.ads {
		if !selects(ad.NodeSelectors, e.nodes[at].Labels) {
			continue
		}
		if len(ad.Interfaces) == 0 {
			return nil
		}
		out = append(out, ad.Interfaces...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (e *election) elected() string {
	c := &e.candidates[0]
	text := fmt.Sprintf("%s announces the address: %s.", c.Node, c.Why)
	if e.everyLabelled {
		text += " Every node has the label " + corev1.LabelNodeExcludeBalancers + ", so it is ignored."
	}
	return text
}

// nobody explains an election without candidates.
func (e *election) nobody() (Reason, string) {
	if len(e.candidates) == 0 {
		return NoEligibleNode, "Nobody announces the address, because there is no node."
	}
	reason := e.candidates[0].Excluded
	var each []string
	for i := range e.candidates {
		c := &e.candidates[i]
		if c.Excluded != reason {
			reason = NoEligibleNode
		}
		each = append(each, c.Node+": "+c.Why)
	}
	return reason, "Nobody announces the address, because no node may: " + few(each) + "."
}

// withdraw takes the ranks of those who would have been candidates if there were something to announce.
func (e *election) withdraw(candidates []Candidate) {
	for i := range candidates {
		if c := &candidates[i]; c.Rank > 0 {
			c.Rank, c.Why = 0, "it could announce, if there were something to announce"
		}
	}
}

// Yields tells whether node me must stop announcing an address because it hears that node other announces it too. Of
// two nodes exactly one yields, also if each believes the other dead: a claim that is heard is a sign of life, so only
// what the API says of a node is compared. A node that is unknown yields to one that is known.
func Yields(a Announcement, me, other string) bool {
	if me == other {
		return false
	}
	i, j := a.find(me), a.find(other)
	switch {
	case i < 0 && j < 0:
		return me > other
	case i < 0 || j < 0:
		return i < 0
	}
	mine, theirs := &a.Candidates[i], &a.Candidates[j]
	if mine.fit() != theirs.fit() {
		return !mine.fit()
	}
	return merit(mine, theirs) > 0
}

// fit tells whether the node could announce if it were heard.
func (c *Candidate) fit() bool { return c.Excluded == "" || c.Excluded == NodeNotAlive }

func (a *Announcement) find(node string) int {
	return slices.IndexFunc(a.Candidates, func(c Candidate) bool { return c.Node == node })
}
