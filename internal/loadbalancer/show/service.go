package show

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
	"minato/internal/loadbalancer/pool"
)

// Service is one Service of type LoadBalancer.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Node is whose view of the other nodes this is.
	Node string `json:"node,omitempty"`
	// Policy is the external traffic policy, Cluster or Local.
	Policy   string `json:"externalTrafficPolicy"`
	Affinity bool   `json:"clientAffinity,omitempty"`
	Shared   bool   `json:"mayShare,omitempty"`

	Allocation Allocation `json:"allocation"`
	Addresses  []Address  `json:"addresses"`
	Flows      Flows      `json:"flows"`
}

// Allocation is which pool the addresses are from, and why.
type Allocation struct {
	// Pool is empty for a Service that has no address.
	Pool   string `json:"pool,omitempty"`
	Reason string `json:"reason"`
	// Cause says more closely why there is no address.
	Cause   string   `json:"cause,omitempty"`
	Message string   `json:"message,omitempty"`
	Help    string   `json:"help,omitempty"`
	Pending string   `json:"pending,omitempty"`
	Why     []string `json:"why"`
}

// Address is an address of the Service.
type Address struct {
	Address string `json:"address"`
	// AnnouncedBy and Next are names of nodes, empty for nobody.
	AnnouncedBy string `json:"announcedBy,omitempty"`
	Next        string `json:"next,omitempty"`
	// Interfaces are where it is announced, empty for every uplink.
	Interfaces []string    `json:"interfaces,omitempty"`
	Reason     string      `json:"reason"`
	Message    string      `json:"message"`
	Candidates []Candidate `json:"candidates"`
	Peers      []Peer      `json:"peers"`
}

// Candidate is a node and its place in the election.
type Candidate struct {
	Node string `json:"node"`
	// Rank is 0 for a node that may not announce.
	Rank       int    `json:"rank"`
	Preference int    `json:"preference"`
	Hash       string `json:"hash"`
	Excluded   string `json:"excluded,omitempty"`
	Why        string `json:"why"`
}

// Peer is what a node tells a BGP peer about the address.
type Peer struct {
	Peer string `json:"peer"`
	Node string `json:"node"`
	// Prefix is empty if the peer is told nothing.
	Prefix         string   `json:"prefix,omitempty"`
	LocalPref      uint32   `json:"localPref,omitempty"`
	Communities    []string `json:"communities,omitempty"`
	Advertisements []string `json:"advertisements,omitempty"`
	Reason         string   `json:"reason"`
	Message        string   `json:"message"`
	// Session is the state of the node's session with the peer, empty if it is not known; Error is why there is none.
	Session string `json:"session,omitempty"`
	Error   string `json:"sessionError,omitempty"`
}

// Flows are the nodes that get the Service's flows.
type Flows struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Buckets is how many there are.
	Buckets int     `json:"buckets"`
	Nodes   []Share `json:"nodes"`
}

// Share is what one node gets.
type Share struct {
	Node string `json:"node"`
	// Buckets are those whose new flows it gets, Second those whose flows it is asked about next.
	Buckets int `json:"buckets"`
	Second  int `json:"second"`
}

// Describe arranges what is decided about one Service.
func Describe(d Decisions) Service {
	out := Service{
		Namespace: d.Service.Key.Namespace, Name: d.Service.Key.Name, Node: d.Node,
		Policy: "Cluster", Affinity: d.Service.Affinity, Shared: d.Service.Shared,
		Allocation: allocation(d.Pool), Flows: flows(d.Spreading), Addresses: []Address{},
	}
	if d.Service.Local {
		out.Policy = "Local"
	}
	for i := range d.Announcements {
		a := &d.Announcements[i]
		out.Addresses = append(out.Addresses, address(a, d.Told, d.Sessions))
	}
	return out
}

func allocation(d pool.Decision) Allocation {
	return Allocation{
		Pool: d.Pool, Reason: string(d.Reason), Cause: string(d.Cause), Message: d.Message, Help: d.Help,
		Pending: d.PendingMessage, Why: append([]string{}, d.Why...),
	}
}

func address(a *Announced, told []Told, sessions []Session) Address {
	out := Address{
		Address: a.Address.String(), AnnouncedBy: a.Node, Next: a.Announcement.Next(), Interfaces: a.Interfaces,
		Reason: string(a.Reason), Message: a.Message, Candidates: []Candidate{}, Peers: peers(a.Address, told, sessions),
	}
	for _, c := range a.Candidates {
		out.Candidates = append(out.Candidates, Candidate{
			Node: c.Node, Rank: c.Rank, Preference: c.Score, Hash: c.Hash, Excluded: string(c.Excluded), Why: c.Why,
		})
	}
	return out
}

// peers sorts by peer and node.
func peers(addr netip.Addr, told []Told, sessions []Session) []Peer {
	out := []Peer{}
	for _, t := range told {
		if t.Address != addr {
			continue
		}
		for _, r := range t.Routes {
			if t.Unheard {
				r.Message += "; but " + t.Node + " isn't heard, and its session may be down"
			}
			out = append(out, Peer{
				Peer: r.Peer, Node: t.Node, Prefix: r.Prefix.String(), LocalPref: r.LocalPref, Communities: communities(r.Communities),
				Advertisements: r.Advertisements, Reason: string(r.Reason), Message: r.Message,
			})
		}
		for _, w := range t.Withheld {
			out = append(out, Peer{Peer: w.Peer, Node: t.Node, Reason: string(w.Reason), Message: w.Message})
		}
	}
	for i := range out {
		out[i].stands(sessions)
	}
	slices.SortStableFunc(out, func(a, b Peer) int {
		return cmp.Or(strings.Compare(a.Peer, b.Peer), strings.Compare(a.Node, b.Node))
	})
	return out
}

// established is the state of a session in which routes are told.
const established = "Established"

// stands puts in how the session stands. Without one, nothing is told.
func (p *Peer) stands(sessions []Session) {
	i := slices.IndexFunc(sessions, func(s Session) bool { return s.Node == p.Node && s.Peer == p.Peer })
	if i < 0 {
		return
	}
	p.Session, p.Error = sessions[i].State, sessions[i].Error
	if p.Prefix == "" || p.Session == established {
		return
	}
	p.Message += "; but there is no session, it is " + p.Session
	if p.Error != "" {
		p.Message += ": " + p.Error
	}
}

func flows(s elect.Spreading) Flows {
	out := Flows{Reason: string(s.Reason), Message: s.Message, Buckets: len(s.Buckets), Nodes: []Share{}}
	for _, n := range s.Nodes {
		out.Nodes = append(out.Nodes, Share{Node: n})
	}
	for _, b := range s.Buckets {
		if b.Owner != elect.None {
			out.Nodes[b.Owner].Buckets++
		}
		if b.Second != elect.None {
			out.Nodes[b.Second].Second++
		}
	}
	return out
}

func communities(all []config.Community) []string {
	var out []string
	for _, c := range all {
		text := fmt.Sprintf("%d:%d", c.Parts[0], c.Parts[1])
		if c.Large {
			text = fmt.Sprintf("large:%s:%d", text, c.Parts[2])
		}
		out = append(out, text)
	}
	return out
}
