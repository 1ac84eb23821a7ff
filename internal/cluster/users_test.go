package cluster

import (
	"reflect"
	"strings"
	"testing"

	"minato/internal/node/settings"
)

// checkUsers looks whether each node has users for all of its Pods, and none has another's.
func checkUsers(t *testing.T, c Config) {
	t.Helper()
	taken := map[uint32]int{}
	for _, n := range c.NodeSpecs() {
		v, err := c.kubelet(n).Values()
		if err != nil {
			t.Fatal(err)
		}
		var pods int64
		for _, r := range c.podUsers(n.Number) {
			pods += r.Pods
			if r.First == 0 || r.First%(1<<16) != 0 || uint64(r.First)+uint64(r.Pods)<<16 > 1<<32 {
				t.Fatalf("node %d has %+v", n.Number, r)
			}
			for i := range uint32(r.Pods) {
				first := r.First + i<<16
				if other := taken[first]; other != 0 {
					t.Fatalf("nodes %d and %d both have the users from %d on", other, n.Number, first)
				}
				taken[first] = n.Number
			}
		}
		if pods < v.MaxPods {
			t.Fatalf("node %d has users for %d Pods, and runs %d", n.Number, pods, v.MaxPods)
		}
	}
}

func many(pods int32) *settings.Kubelet { return &settings.Kubelet{MaxPods: &pods} }

// Nodes have users for all of their Pods, and no node those of another.
func TestUsersOfPods(t *testing.T) {
	for name, c := range map[string]Config{
		"by default":            {Name: "a", Nodes: 200},
		"more Pods":             {Name: "b", Nodes: 100, Kubelet: many(500)},
		"more Pods on one node": {Name: "c", NodeList: []NodeSpec{{Number: 1, Name: "x"}, {Number: 2, Name: "y", Kubelet: many(500)}, {Number: 3, Name: "z"}}},
		"all that there is":     {Name: "d", Nodes: 1, Kubelet: many(userBlocks*userBlock - usersInReserve)},
	} {
		got, err := c.withUsers(false)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkUsers(t, got)
		if again, err := got.withUsers(true); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: at the next start they are %v, %v", name, again.PodUsers, err)
		}
	}
	a, errA := Config{Name: "minato", Nodes: 1}.withUsers(false)
	b, errB := Config{Name: "conform", Nodes: 1}.withUsers(false)
	if errA != nil || errB != nil || reflect.DeepEqual(a.PodUsers, b.PodUsers) {
		t.Errorf("two clusters have the same users: %v, %v", a.PodUsers, b.PodUsers)
	}
	if _, err := (Config{Name: "e", Nodes: 2, Kubelet: many(40000)}).withUsers(false); err == nil || !strings.Contains(err.Error(), "node node-2 need users of their own") || !strings.Contains(err.Error(), "maxPods") {
		t.Errorf("more than there are: %v", err)
	}
}

// Whatever nodes come and go, and however many Pods they may run, those that are there keep
// the users that they have.
func TestUsersOfNodesThatCome(t *testing.T) {
	c, err := Config{Name: "a", Nodes: 3}.WithDefaultRanges().withUsers(false)
	if err != nil {
		t.Fatal(err)
	}
	c.ClusterDomain, c.APIPort, c.IPFamily = "cluster.local", 6443, IPv4
	c = c.WithDefaultRanges()
	keeps := func(before, after Config, but int) {
		t.Helper()
		checkUsers(t, after)
		for number, had := range before.PodUsers {
			if has := after.PodUsers[number]; number != but && (len(has) < len(had) || !reflect.DeepEqual(has[:len(had)], had)) {
				t.Errorf("node %d had %v, and has %v", number, had, has)
			}
		}
	}
	big, _, err := c.withNode(NodeSpec{Name: "big", Kubelet: many(1000)})
	if err != nil {
		t.Fatal(err)
	}
	keeps(c, big, 0)
	next, err := big.withUsers(true)
	if err != nil || !reflect.DeepEqual(next.PodUsers, big.PodUsers) {
		t.Errorf("at the next start: %v, %v", next.PodUsers, err)
	}
	small, _, err := big.withNode(NodeSpec{Name: "small"})
	if err != nil {
		t.Fatal(err)
	}
	keeps(big, small, 0)
	without := small.withoutNode("big")
	if without.PodUsers[4] != nil {
		t.Errorf("a node that is gone has %v", without.PodUsers[4])
	}
	keeps(small, without, 4)
	reused, _, err := without.withNode(NodeSpec{})
	if err != nil {
		t.Fatal(err)
	}
	keeps(without, reused, 0)
	// More Pods on every node from the next start on.
	reused.Kubelet = many(300)
	more, err := reused.withUsers(true)
	if err != nil {
		t.Fatal(err)
	}
	for number, had := range reused.PodUsers {
		if has := more.PodUsers[number]; has[0].First != had[0].First || has[0].Count < had[0].Count {
			t.Errorf("node %d had %v, and has %v", number, had, has)
		}
	}
	checkUsers(t, more)
}

// A cluster of which the users were not written down keeps those that it had.
func TestUsersOfAClusterThatExists(t *testing.T) {
	c, err := Config{Name: "minato", Nodes: 3, Kubelet: many(500)}.withUsers(true)
	if err != nil {
		t.Fatal(err)
	}
	place := c.userPlace(userBlocks / 5)
	for number := 1; number <= 3; number++ {
		want := []UserBlocks{{First: 1 + (place+number-1)%(userBlocks/5)*5, Count: 5}}
		if got := c.PodUsers[number]; !reflect.DeepEqual(got, want) {
			t.Errorf("node %d has %v, want %v", number, got, want)
		}
	}
	plain := Config{Name: "minato", Nodes: 200}
	old, errOld := plain.withUsers(true)
	now, errNow := plain.withUsers(false)
	if errOld != nil || errNow != nil || !reflect.DeepEqual(old.PodUsers, now.PodUsers) {
		t.Errorf("of common nodes: %v and %v", old.PodUsers, now.PodUsers)
	}
}
