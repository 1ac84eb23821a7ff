package elect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

var address = netip.MustParseAddr("192.0.2.1")

// cluster makes nodes from texts such as "n1", "n2 dead", "n3 unavailable", "n4 labelled" and "n5 rack=a".
func cluster(texts ...string) []Node {
	var out []Node
	for _, text := range texts {
		f := strings.Fields(text)
		n := Node{Name: f[0], Alive: true, Labels: labels.Set{"name": f[0]}}
		for _, word := range f[1:] {
			switch word {
			case "dead":
				n.Alive = false
			case "unavailable":
				n.NetworkUnavailable = true
			case "labelled":
				n.Labels[corev1.LabelNodeExcludeBalancers] = "false"
			default:
				key, value, ok := strings.Cut(word, "=")
				if !ok {
					panic(text)
				}
				n.Labels[key] = value
			}
		}
		out = append(out, n)
	}
	return out
}

// service has endpoints on the nodes; "-n1" is a node whose endpoints are terminating.
func service(nodes ...string) Service {
	s := Service{
		Key: types.NamespacedName{Namespace: "shop", Name: "web"}, Labels: labels.Set{"app": "web"}, Pool: "lan",
		Addresses: []netip.Addr{address}, Serving: map[string]bool{}, Draining: map[string]bool{},
	}
	for _, n := range nodes {
		if name, draining := strings.CutPrefix(n, "-"); draining {
			s.Draining[name] = true
		} else {
			s.Serving[n] = true
		}
	}
	return s
}

func local(s Service) Service  { s.Local = true; return s }
func shared(s Service) Service { s.Shared = true; return s }

func named(s Service, name string) Service { s.Key.Name = name; return s }

func selectors(texts ...string) []labels.Selector {
	var out []labels.Selector
	for _, text := range texts {
		s, err := labels.Parse(text)
		if err != nil {
			panic(err)
		}
		out = append(out, s)
	}
	return out
}

// lan is an advertisement for pool lan.
func lan(options ...func(*config.L2Advertisement)) []config.L2Advertisement {
	ad := config.L2Advertisement{Name: "lan", Pools: []string{"lan"}}
	for _, o := range options {
		o(&ad)
	}
	return []config.L2Advertisement{ad}
}

func onNodes(texts ...string) func(*config.L2Advertisement) {
	return func(ad *config.L2Advertisement) { ad.NodeSelectors = selectors(texts...) }
}

func forServices(texts ...string) func(*config.L2Advertisement) {
	return func(ad *config.L2Advertisement) { ad.ServiceSelectors = selectors(texts...) }
}

func at(interfaces ...string) func(*config.L2Advertisement) {
	return func(ad *config.L2Advertisement) { ad.Interfaces = interfaces }
}

func preferring(weight int, text string) func(*config.L2Advertisement) {
	return func(ad *config.L2Advertisement) {
		ad.Preferred = append(ad.Preferred, config.Preference{Weight: weight, Selector: selectors(text)[0]})
	}
}

// world is a random cluster, Service and configuration.
type world struct {
	nodes []Node
	svc   Service
	ads   []config.L2Advertisement
	def   bool
}

func randomWorld(r *rand.Rand) world {
	w := world{svc: service(), def: r.IntN(5) == 0}
	for i := range r.IntN(7) {
		n := fmt.Sprintf("n%d", i)
		for _, word := range []string{"dead", "unavailable", "labelled", "rack=a", "rack=b"} {
			if r.IntN(4) == 0 {
				n += " " + word
			}
		}
		w.nodes = append(w.nodes, cluster(n)...)
		switch r.IntN(4) {
		case 0, 1:
			w.svc.Serving[w.nodes[i].Name] = true
		case 2:
			w.svc.Draining[w.nodes[i].Name] = true
		}
	}
	w.svc.Local, w.svc.Shared = r.IntN(2) == 0, r.IntN(4) == 0
	w.svc.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(250))})}
	for range r.IntN(3) {
		options := []func(*config.L2Advertisement){preferring(1+r.IntN(100), "rack=a")}
		if r.IntN(3) == 0 {
			options = append(options, onNodes("rack=a", "rack=b"))
		}
		if r.IntN(4) == 0 {
			options = append(options, forServices("app=web"))
		}
		if r.IntN(3) == 0 {
			options = append(options, at("eth1"))
		}
		w.ads = append(w.ads, lan(options...)...)
	}
	return w
}

func (w *world) announce() Announcement {
	return Announce(w.svc, w.svc.Addresses[0], w.nodes, w.ads, w.def)
}

// worlds runs a property in many random worlds, each with a seed that can be named.
func worlds(t *testing.T, property func(t *testing.T, r *rand.Rand, w world)) {
	t.Helper()
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		if w := randomWorld(r); !t.Failed() {
			property(t, r, w)
			if t.Failed() {
				t.Logf("seed %d: %+v", seed, w)
			}
		}
	}
}
