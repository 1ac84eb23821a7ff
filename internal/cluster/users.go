package cluster

import (
	"hash/fnv"

	agent "minato/internal/node"
)

const (
	// userBlock is how many Pods one block of the machine's users is for.
	userBlock = 128
	// usersInReserve are for more Pods than a node runs: Pods that have ended keep
	// theirs until they are gone.
	usersInReserve = 18
)

// podUsers are the machine's users that a node gives to its Pods' user namespaces:
// nobody else's of the cluster, and as many as the node runs Pods. By default the
// numbers are enough for 511 nodes, and then begin again. Where they begin is a matter of
// the cluster's name, so that clusters side by side have other users, unless
// their names happen to lead to the same.
func (c Config) podUsers(number int) agent.UserRange {
	blocks := c.userBlocks()
	places := max(1, (1<<16/userBlock-1)/blocks)
	hash := fnv.New32a()
	hash.Write([]byte(c.Name))
	place := (int(hash.Sum32()%uint32(places)) + number - 1) % places
	return agent.UserRange{First: uint32(1+place*blocks*userBlock) << 16, Pods: int64(blocks * userBlock)}
}

// userBlocks is how many blocks each node has: what the one with the most Pods needs.
func (c Config) userBlocks() int {
	most := int64(1)
	for _, n := range append([]NodeSpec{{}}, c.NodeList...) {
		if v, err := c.kubelet(n).Values(); err == nil { // which was validated before
			most = max(most, v.MaxPods)
		}
	}
	return int(min(1<<16/userBlock-1, (most+usersInReserve+userBlock-1)/userBlock))
}
