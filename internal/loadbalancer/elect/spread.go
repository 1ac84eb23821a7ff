package elect

import (
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"
)

// Spread divides the flows of a Service among nodes. A bucket belongs to the node with the highest hash for it, among
// those that take new flows; so a node that leaves gives away its own buckets and nothing else moves, and one that
// comes takes only what becomes its own. The hash is of the node and the bucket, and not of the Service: all Services with
// the same nodes have the same table. A node that gets a packet of a flow that it doesn't know hands it to the
// second, which is the next in the order, nodes included that only finish what they have.
//
// A node with the label node.kubernetes.io/exclude-from-external-load-balancers gets no new flows, as if its endpoints
// were terminating. With policy Cluster any node can serve any flow: those with endpoints save a hop, and if there are
// none every node is used, also to refuse what nobody can serve.
func Spread(svc Service, nodes []Node) Spreading {
	c := Choose(svc, nodes)
	return Spreading{Nodes: c.Nodes, Buckets: c.Buckets(), Reason: c.Reason, Message: c.Message}
}

// Choice is which nodes share the flows of a Service. It costs little next to the buckets, which follow from it alone.
type Choice struct {
	// Nodes are those that a bucket can name, sorted; none if no node can take flows. Owns tells which may own one.
	Nodes []string
	Owns  []bool
	// Reason and Message are those of the Spreading.
	Reason  Reason
	Message string
}

// Choose decides all of a Spreading but its buckets.
func Choose(svc Service, nodes []Node) Choice {
	s := spreader{svc: &svc, everyLabelled: allLabelled(nodes)}
	nodes = byName(nodes)
	for i := range nodes {
		s.add(&nodes[i])
	}
	owner, out := s.choose()
	if owner == unusable {
		return out
	}
	for i, name := range s.names {
		if p := s.roles[i]; p == owner || p == drains || p == retires {
			out.Nodes, out.Owns = append(out.Nodes, name), append(out.Owns, p == owner)
		}
	}
	return out
}

// Buckets gives each bucket its nodes.
func (c *Choice) Buckets() []Bucket {
	if len(c.Nodes) == 0 {
		return nil
	}
	hashes := make([]uint64, 0, len(c.Nodes))
	for _, name := range c.Nodes {
		hashes = append(hashes, xxhash.Sum64String(name))
	}
	return fill(hashes, c.Owns)
}

// role is what a node can be for a Service.
type role uint8

const (
	unusable role = iota
	// serves: it has endpoints that take new connections.
	serves
	// drains: it has endpoints that are terminating, which take new connections only if nobody else can.
	drains
	// retires: it has endpoints, and is to get no new connections from load balancers.
	retires
	// forwards: it has no endpoints.
	forwards
	roles
)

type spreader struct {
	svc           *Service
	everyLabelled bool
	names         []string
	roles         []role
	count         [roles]int
	// left says why nodes with endpoints get no new flows.
	left []string
}

func (s *spreader) add(n *Node) {
	r, why := s.role(n)
	s.names, s.roles = append(s.names, n.Name), append(s.roles, r)
	s.count[r]++
	if why != "" && s.svc.on(n.Name) {
		s.left = append(s.left, n.Name+" "+why)
	}
}

func (s *spreader) role(n *Node) (role, string) {
	labelled := n.labelled() && !s.everyLabelled
	switch {
	case n.NetworkUnavailable:
		return unusable, "has the condition NetworkUnavailable"
	case !n.Alive:
		return unusable, "isn't heard"
	case labelled && s.svc.on(n.Name):
		return retires, "has the label " + corev1.LabelNodeExcludeBalancers
	case labelled:
		return unusable, ""
	case s.svc.Serving[n.Name]:
		return serves, ""
	case s.svc.Draining[n.Name]:
		return drains, ""
	}
	return forwards, ""
}

// choose tells which role owns the buckets, unusable if none does.
func (s *spreader) choose() (role, Choice) {
	left := ""
	if len(s.left) > 0 {
		left = " Left out: " + few(s.left) + "."
	}
	with := func(r Reason, text string) Choice { return Choice{Reason: r, Message: text + left} }
	switch {
	case s.count[serves] > 0:
		return serves, with(ToEndpoints, fmt.Sprintf("Flows go to the %s with endpoints that are ready.", plural(s.count[serves], "node")))
	case s.count[drains] > 0:
		return drains, with(ToTerminating, fmt.Sprintf("Flows go to the %s whose endpoints are terminating and still serve, because no other node has endpoints.", plural(s.count[drains], "node")))
	case s.svc.Local && s.svc.anywhere():
		return unusable, with(NoLocalEndpoints, "No node gets flows: the external traffic policy is Local, and no node that may be used has an endpoint that serves.")
	case s.svc.Local:
		return unusable, with(NoEndpoints, "No node gets flows, because the Service has no endpoint that is ready or serving.")
	case s.count[forwards] == 0:
		return unusable, with(NoEligibleNode, "No node gets flows, because none may be used.")
	case s.svc.anywhere():
		return forwards, with(ToEveryNode, "Flows go to every node, because no node that may be used has an endpoint; each forwards them.")
	}
	return forwards, with(NoEndpoints, "Flows that come all the same go to every node and are refused there, because the Service has no endpoint that is ready or serving.")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// fill gives each bucket its two nodes. The nodes are in the order of their names, and the first of equal hashes wins.
func fill(hashes []uint64, owns []bool) []Bucket {
	may := make([]uint64, len(hashes))
	for i := range may {
		if owns[i] {
			may[i] = math.MaxUint64
		}
	}
	out := make([]Bucket, Buckets)
	for b := range out {
		salt := uint64(b+1) * 0x9e3779b97f4a7c15
		// The best of those that may own, and the two best of all. Branches here could not be predicted, and would take
		// most of the time: so a candidate is one number, of the hash and the index, and the best is the greatest.
		var owner, top, runner uint64
		for i, h := range hashes {
			v := mix(h^salt)&^None | uint64(None-i)
			owner = max(owner, v&may[i])
			runner = max(runner, min(top, v))
			top = max(top, v)
		}
		second := top
		if top == owner {
			second = runner
		}
		out[b] = Bucket{Owner: index(owner), Second: index(second)}
	}
	return out
}

// index takes the node out of fill's number, None for 0.
func index(v uint64) uint16 { return None - uint16(v&None) }

// mix is the finalizer of MurmurHash3: each bit of the input changes about half of the output's.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
