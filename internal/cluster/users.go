package cluster

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	agent "minato/internal/node"
)

const (
	// userBlock is how many Pods one block of the machine's users is for.
	userBlock = 128
	// usersInReserve are for more Pods than a node runs: Pods that have ended keep
	// theirs until they are gone.
	usersInReserve = 18
	// userBlocks is how many blocks the machine has beside the first one, which begins with
	// the machine's own users. Those that are given begin with number 1.
	userBlocks = 1<<16/userBlock - 1
)

// UserBlocks are blocks of the machine's users that follow each other.
type UserBlocks struct {
	First int `json:"first"`
	Count int `json:"count"`
}

// podUsers are the machine's users that a node gives to its Pods' user namespaces.
func (c Config) podUsers(number int) []agent.UserRange {
	var out []agent.UserRange
	for _, b := range c.PodUsers[number] {
		out = append(out, agent.UserRange{First: uint32(b.First*userBlock) << 16, Pods: int64(b.Count * userBlock)})
	}
	return out
}

// withUsers returns the configuration in which each node has users for all of its Pods, and
// nobody else's of the cluster. What a node has it keeps: Pods have them, and their files
// are on disks. A node that lacks some, because it is new or may run more Pods than
// before, gets blocks that are free. Where the search for them begins is a matter of the cluster's
// name, so that clusters side by side have other users, unless their names happen to lead to the
// same. exists says that the cluster was up before, maybe when users were not written down.
func (c Config) withUsers(exists bool) (Config, error) {
	former := exists && c.PodUsers == nil
	all := map[int][]UserBlocks{}
	taken := map[int]bool{}
	nodes := c.NodeSpecs()
	slices.SortFunc(nodes, func(a, b NodeSpec) int { return a.Number - b.Number })
	for _, n := range nodes {
		all[n.Number] = slices.Clone(c.PodUsers[n.Number])
		for _, b := range all[n.Number] {
			for i := range b.Count {
				taken[b.First+i] = true
			}
		}
	}
	for _, n := range nodes {
		need := c.blocksOf(n)
		first := c.userPlace(userBlocks) + (n.Number-1)*need
		if former {
			first, need = c.formerBlocks(n.Number)
		}
		for _, b := range all[n.Number] {
			need -= b.Count
		}
		for i := 0; i < userBlocks && need > 0; i++ {
			block := 1 + (first+i)%userBlocks
			if taken[block] {
				continue
			}
			taken[block] = true
			all[n.Number] = appendBlock(all[n.Number], block)
			need--
		}
		if need > 0 {
			return c, fmt.Errorf("the Pods of node %s need users of their own (hostUsers: false), and the cluster's other nodes have the machine's, which are enough for %d Pods on all nodes: set a smaller maxPods by --kubelet-config, or have fewer nodes", n.Name, userBlocks*userBlock)
		}
	}
	c.PodUsers = all
	return c, nil
}

// withoutUsers returns the configuration in which nobody has the users of a node.
func (c Config) withoutUsers(number int) Config {
	c.PodUsers = maps.Clone(c.PodUsers)
	delete(c.PodUsers, number)
	return c
}

func appendBlock(list []UserBlocks, block int) []UserBlocks {
	if last := len(list) - 1; last >= 0 && list[last].First+list[last].Count == block {
		list[last].Count++
		return list
	}
	return append(list, UserBlocks{First: block, Count: 1})
}

// userPlace is one of places, by the cluster's name.
func (c Config) userPlace(places int) int {
	hash := fnv.New32a()
	hash.Write([]byte(c.Name))
	return int(hash.Sum32() % uint32(places))
}

// blocksOf is how many blocks a node needs for its Pods.
func (c Config) blocksOf(n NodeSpec) int {
	v, err := c.kubelet(n).Values()
	if err != nil { // which was validated before
		return 1
	}
	return int((v.MaxPods + usersInReserve + userBlock - 1) / userBlock)
}

// formerBlocks are those that a node had when they were not written down: each node had as
// many as the one with the most Pods, in the order of their numbers. first is counted from 0.
func (c Config) formerBlocks(number int) (first, count int) {
	count = c.blocksOf(NodeSpec{})
	for _, n := range c.NodeList {
		count = max(count, c.blocksOf(n))
	}
	count = min(count, userBlocks)
	places := userBlocks / count
	return (c.userPlace(places) + number - 1) % places * count, count
}
