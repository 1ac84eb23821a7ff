package elect

import (
	"fmt"
	"strings"
)

// Reason is why something is as it is, in one word. Those that MetalLB has too are spelled as there.
type Reason string

const (
	// Elected: the node is the first of the candidates.
	Elected Reason = "elected"
	// Announced: the peer is told of the prefix.
	Announced Reason = "announced"
	// ToEndpoints: flows go to the nodes with endpoints.
	ToEndpoints Reason = "toEndpoints"
	// ToTerminating: flows go to the nodes with endpoints that terminate, since there are no others.
	ToTerminating Reason = "toTerminating"
	// ToEveryNode: flows go to every node, since none that may be used has endpoints.
	ToEveryNode Reason = "toEveryNode"

	// NotOwner: no advertisement of the pool selects the node.
	NotOwner Reason = "notOwner"
	// NoMatchingAdvertisement: no advertisement is for the pool and the Service.
	NoMatchingAdvertisement Reason = "noMatchingAdvertisement"
	// ConflictingAdvertisements: two advertisements want the same prefix with different local preferences.
	ConflictingAdvertisements Reason = "conflictingAdvertisements"
	// SharedIPWithServiceSelector: Services that may share the address could be announced differently.
	SharedIPWithServiceSelector Reason = "sharedIPWithServiceSelector"
	// NodeNetworkUnavailable: the node says that its network isn't set up.
	NodeNetworkUnavailable Reason = "nodeNetworkUnavailable"
	// NodeLabeledExcludeBalancers: the node has the label node.kubernetes.io/exclude-from-external-load-balancers.
	NodeLabeledExcludeBalancers Reason = "nodeLabeledExcludeBalancers"
	// NodeNotAlive: the node isn't heard.
	NodeNotAlive Reason = "nodeNotAlive"
	// NoLocalEndpoints: the policy is Local, and no endpoint that serves is on the node.
	NoLocalEndpoints Reason = "noLocalEndpoints"
	// NoEndpoints: no endpoint serves anywhere.
	NoEndpoints Reason = "noEndpoints"
	// NoEligibleNode: there are endpoints and advertisements, but no node that may be used.
	NoEligibleNode Reason = "noEligibleNode"
	// NoAddress: there is no address to announce.
	NoAddress Reason = "noAddress"
	// PeerNotOnNode: the peer's nodeSelectors leave the node out.
	PeerNotOnNode Reason = "peerNotOnNode"
	// PeerNotSelected: the advertisements name other peers.
	PeerNotSelected Reason = "peerNotSelected"
	// OtherIPFamily: the session carries the other IP family only.
	OtherIPFamily Reason = "otherIPFamily"
)

// few joins what is said of nodes, of which there may be many.
func few(each []string) string {
	const most = 5
	if more := len(each) - most; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(each[:most], "; "), more)
	}
	return strings.Join(each, "; ")
}
