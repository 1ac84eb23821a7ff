package cluster

import (
	"testing"

	"minato/internal/node/settings"
)

// Nodes have users for all of their Pods, and no node those of another.
func TestUsersOfPods(t *testing.T) {
	many := int32(500)
	for _, c := range []struct {
		name   string
		config Config
		pods   int64
		nodes  int
	}{
		{"by default", Config{Name: "a"}, 110, 511},
		{"more Pods", Config{Name: "b", Kubelet: &settings.Kubelet{MaxPods: &many}}, 500, 100},
		{"more Pods on one node", Config{Name: "c", NodeList: []NodeSpec{{Name: "x"}, {Name: "y", Kubelet: &settings.Kubelet{MaxPods: &many}}}}, 500, 100},
	} {
		taken := map[uint32]int{}
		for number := 1; number <= c.nodes; number++ {
			r := c.config.podUsers(number)
			if r.Pods < c.pods || r.First == 0 || r.First%(1<<16) != 0 || uint64(r.First)+uint64(r.Pods)<<16 > 1<<32 {
				t.Fatalf("%s: node %d has %+v", c.name, number, r)
			}
			for i := range uint32(r.Pods) {
				first := r.First + i<<16
				if other := taken[first]; other != 0 {
					t.Fatalf("%s: nodes %d and %d both have the users from %d on", c.name, other, number, first)
				}
				taken[first] = number
			}
		}
	}
	if (Config{Name: "minato"}).podUsers(1) == (Config{Name: "conform"}).podUsers(1) {
		t.Error("two clusters have the same users")
	}
}
