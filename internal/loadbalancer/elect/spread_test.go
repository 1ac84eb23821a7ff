package elect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// shares counts the buckets of each owner.
func shares(s Spreading) map[string]int {
	out := map[string]int{}
	for _, b := range s.Buckets {
		out[s.Nodes[b.Owner]]++
	}
	return out
}

// owners are the nodes that own buckets, sorted.
func owners(s Spreading) string {
	var out []string
	for n := range shares(s) {
		out = append(out, n)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		name          string
		svc           Service
		nodes         []Node
		owners, names string
		reason        Reason
	}{
		{"nodes with endpoints", service("n1", "n3"), cluster("n1", "n2", "n3"), "n1 n3", "n1 n3", ToEndpoints},
		{"local policy is no different", local(service("n1", "n3")), cluster("n1", "n2", "n3"), "n1 n3", "n1 n3", ToEndpoints},
		{"one node", service("n1"), cluster("n1", "n2"), "n1", "n1", ToEndpoints},
		{"terminating ones are second only", service("n1", "-n2"), cluster("n1", "n2", "n3"), "n1", "n1 n2", ToEndpoints},
		{"terminating ones are the fallback", local(service("-n1", "-n2")), cluster("n1", "n2", "n3"), "n1 n2", "n1 n2", ToTerminating},
		{"the others are dead", local(service("n1", "-n2")), cluster("n1 dead", "n2", "n3"), "n2", "n2", ToTerminating},
		{"a dead node", service("n1", "n2"), cluster("n1 dead", "n2"), "n2", "n2", ToEndpoints},
		{"an unavailable node", service("n1", "n2"), cluster("n1 unavailable", "n2"), "n2", "n2", ToEndpoints},
		{"a labelled node is second only", service("n1", "n2"), cluster("n1 labelled", "n2"), "n2", "n1 n2", ToEndpoints},
		{"all are labelled", service("n1", "n2"), cluster("n1 labelled", "n2 labelled"), "n1 n2", "n1 n2", ToEndpoints},
		{"cluster policy: none left", service("n1"), cluster("n1 dead", "n2", "n3"), "n2 n3", "n2 n3", ToEveryNode},
		{"cluster policy: only labelled ones left", service("n1"), cluster("n1 labelled", "n2", "n3 labelled"), "n2", "n1 n2", ToEveryNode},
		{"cluster policy: endpoints without a node", service(""), cluster("n1", "n2"), "n1 n2", "n1 n2", ToEveryNode},
		{"cluster policy: no endpoints", service(), cluster("n1", "n2 dead", "n3"), "n1 n3", "n1 n3", NoEndpoints},
		{"cluster policy: no nodes", service("n1"), cluster("n1 dead"), "", "", NoEligibleNode},
		{"local policy: none left", local(service("n1")), cluster("n1 dead", "n2"), "", "", NoLocalEndpoints},
		{"local policy: only labelled ones left", local(service("n1")), cluster("n1 labelled", "n2"), "", "", NoLocalEndpoints},
		{"local policy: no endpoints", local(service()), cluster("n1"), "", "", NoEndpoints},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Spread(c.svc, c.nodes)
			if got := owners(s); got != c.owners || strings.Join(s.Nodes, " ") != c.names || s.Reason != c.reason || s.Message == "" {
				t.Errorf("owners %q of %v, reason %s, message %q", got, s.Nodes, s.Reason, s.Message)
			}
			if (len(s.Buckets) == Buckets) != (c.owners != "") {
				t.Errorf("%d buckets", len(s.Buckets))
			}
			for i, b := range s.Buckets {
				if b.Second == b.Owner || (b.Second == None) != (len(s.Nodes) == 1) || b.Second != None && int(b.Second) >= len(s.Nodes) {
					t.Fatalf("bucket %d of %d nodes: %+v", i, len(s.Nodes), b)
				}
			}
		})
	}
	if m := Spread(service("n1", "n2"), cluster("n1 dead", "n2 labelled", "n3")).Message; !strings.Contains(m, "n1 isn't heard; n2 has the label") {
		t.Errorf("message %q", m)
	}
}

// A bucket's nodes are written down, because a change of the hash cuts flows while a cluster is upgraded.
func TestSpreadIsFixed(t *testing.T) {
	s := Spread(service("n1", "n2", "n3"), cluster("n1", "n2", "n3"))
	var got []string
	for _, b := range s.Buckets[:8] {
		got = append(got, s.Nodes[b.Owner]+"/"+s.Nodes[b.Second])
	}
	if want := "n3/n2 n2/n3 n3/n2 n2/n3 n3/n1 n1/n3 n2/n1 n1/n2"; strings.Join(got, " ") != want {
		t.Errorf("got %s", strings.Join(got, " "))
	}
}

func TestSharesAreEven(t *testing.T) {
	for _, n := range []int{2, 3, 5, 10, 20} {
		worst := 0.0
		for i := range 50 {
			var names []string
			for j := range n {
				names = append(names, fmt.Sprintf("node-%d-of-%d", j+1, i))
			}
			for _, c := range shares(Spread(service(names...), cluster(names...))) {
				worst = max(worst, math.Abs(float64(c)*float64(n)/Buckets-1))
			}
		}
		// Owning a bucket is a throw with probability 1/n: four and a half deviations, for 50 n throws of it.
		if limit := 4.5 * math.Sqrt(float64(n-1)/Buckets); worst > limit {
			t.Errorf("%d nodes: a share is off by %.0f %%, which is more than %.0f %%", n, 100*worst, 100*limit)
		}
	}
}

// If a node leaves, its buckets go to their second, and no other changes its owner.
func TestOnlyTheLeaversBucketsMove(t *testing.T) {
	worlds(t, func(t *testing.T, r *rand.Rand, w world) {
		// Nodes that drain become owners as soon as nobody else is left, and labelled ones never do: other matters.
		w.svc.Draining = nil
		w.nodes = slices.Clone(w.nodes)
		for i := range w.nodes {
			w.nodes[i].Labels = nil
		}
		before := Spread(w.svc, w.nodes)
		if before.Reason != ToEndpoints {
			return
		}
		leaver := before.Nodes[r.IntN(len(before.Nodes))]
		for i := range w.nodes {
			if w.nodes[i].Name == leaver {
				w.nodes[i].Alive = false
			}
		}
		after := Spread(w.svc, w.nodes)
		if after.Reason != ToEndpoints {
			return
		}
		for i, b := range before.Buckets {
			want := before.Nodes[b.Owner]
			if want == leaver {
				want = before.Nodes[b.Second]
			}
			if got := after.Nodes[after.Buckets[i].Owner]; got != want {
				t.Fatalf("%s left: bucket %d of %s/%d went to %s", leaver, i, before.Nodes[b.Owner], b.Second, got)
			}
		}
	})
}

// A node that comes takes buckets, and the second of those is who owned them; a node that begins to drain is the second
// of all that it owned.
func TestSecondIsTheOwnerBefore(t *testing.T) {
	nodes := cluster("n1", "n2", "n3", "n4", "n5")
	for _, c := range []struct {
		name          string
		before, after Service
	}{
		{"comes", service("n1", "n2", "n3", "n4"), service("n1", "n2", "n3", "n4", "n5")},
		{"comes as the second", service("n1"), service("n1", "n5")},
		{"drains", service("n1", "n2", "n5"), service("n1", "n2", "-n5")},
		{"drains to one", service("n1", "n5"), service("n1", "-n5")},
	} {
		a, b := Spread(c.before, nodes), Spread(c.after, nodes)
		moved := 0
		for i := range a.Buckets {
			was, is := a.Nodes[a.Buckets[i].Owner], b.Nodes[b.Buckets[i].Owner]
			if was == is {
				continue
			}
			moved++
			if second := b.Nodes[b.Buckets[i].Second]; second != was {
				t.Fatalf("%s: bucket %d went from %s to %s, and its second is %s", c.name, i, was, is, second)
			}
			if was != "n5" && is != "n5" {
				t.Fatalf("%s: bucket %d went from %s to %s", c.name, i, was, is)
			}
		}
		if moved == 0 {
			t.Errorf("%s: nothing moved", c.name)
		}
	}
}

func TestFillAgainstASort(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 1 + r.IntN(6)
		hashes, owns := make([]uint64, n), make([]bool, n)
		for i := range hashes {
			hashes[i], owns[i] = uint64(r.IntN(4)), r.IntN(2) == 0 // with equal ones
		}
		owns[r.IntN(n)] = true
		for b, got := range fill(hashes, owns) {
			order := make([]int, n)
			for i := range order {
				order[i] = i
			}
			slices.SortStableFunc(order, func(i, j int) int {
				x, y := mix(hashes[i]^uint64(b+1)*0x9e3779b97f4a7c15), mix(hashes[j]^uint64(b+1)*0x9e3779b97f4a7c15)
				switch {
				case x > y:
					return -1
				case x < y:
					return 1
				}
				return 0
			})
			owner := order[slices.IndexFunc(order, func(i int) bool { return owns[i] })]
			want := Bucket{Owner: uint16(owner), Second: None}
			if i := slices.IndexFunc(order, func(i int) bool { return i != owner }); i >= 0 {
				want.Second = uint16(order[i])
			}
			if got != want {
				t.Fatalf("hashes %v, owners %v, bucket %d: %+v, want %+v", hashes, owns, b, got, want)
			}
		}
	}
}

// Nodes keep one table for all Services that have the same nodes.
func TestServicesWithTheSameNodesAreSpreadEqually(t *testing.T) {
	nodes := cluster("n1", "n2", "n3")
	a, b := Spread(service("n1", "n2", "-n3"), nodes), Spread(named(service("n1", "n2", "-n3"), "other"), nodes)
	if !reflect.DeepEqual(a.Buckets, b.Buckets) || len(a.Buckets) == 0 {
		t.Error("two Services with the same nodes have different buckets")
	}
}
