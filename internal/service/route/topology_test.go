package route

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func withKeys(keys string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations = map[string]string{AnnotationTopologyKeys: keys} }
}

// TestTopologyKeys follows KEP-2004: the first key with a match decides, "*" matches everything, and without a match
// there is no endpoint.
func TestTopologyKeys(t *testing.T) {
	const hostname, zone, region = corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion
	const oldZone = corev1.LabelFailureDomainBetaZone
	node := Node{Name: "n1", Zone: "z1", Labels: map[string]map[string]string{
		"n1": {hostname: "n1", zone: "z1", region: "r1", "rack": "a"},
		"n2": {hostname: "n2", zone: "z1", region: "r1", "rack": "b"},
		"n3": {hostname: "n3", oldZone: "z2", region: "r1", "rack": "a"},
		"n4": {hostname: "n4", zone: "z3"},
	}}
	everywhere := []string{"1 n1 ready", "2 n2 ready", "3 n3 ready", "4 n4 ready"}
	elsewhere := []string{"2 n2 ready", "3 n3 ready", "4 n4 ready"}
	for _, c := range []struct {
		name, keys string
		endpoints  []string
		cluster    string
		topology   Topology
	}{
		{"same node", hostname, everywhere, "1", "same kubernetes.io/hostname, n1"},
		{"same node or any, on the node", hostname + ",*", everywhere, "1", "same kubernetes.io/hostname, n1"},
		{"same node or any, elsewhere", hostname + ",*", elsewhere, "2 3 4", TopologyAll},
		{"in the order written", "rack," + zone, elsewhere, "3", "same rack, a"},
		{"in the other order", zone + ",rack", elsewhere, "2", "same topology.kubernetes.io/zone, z1"},
		{"same zone by its old name", oldZone, elsewhere, "2", "same failure-domain.beta.kubernetes.io/zone, z1"},
		{"same region", region, everywhere, "1 2 3", "same topology.kubernetes.io/region, r1"},
		{"no match", hostname, elsewhere, "", TopologyNone},
		{"a key that no node has", "kubernetes.io/zone", everywhere, "", TopologyNone},
		{"a key that no node has, or any", "kubernetes.io/zone,*", everywhere, "1 2 3 4", TopologyAll},
		{"any alone", "*", everywhere, "1 2 3 4", TopologyAll},
		{"an endpoint that isn't ready is no match", hostname + "," + zone, []string{"1 n1 unready", "2 n2 ready"}, "2", "same topology.kubernetes.io/zone, z1"},
		{"nor one that terminates while others are ready", hostname + "," + zone, []string{"1 n1 draining", "2 n2 ready"}, "2", "same topology.kubernetes.io/zone, z1"},
		{"those that terminate where none is ready", hostname, []string{"1 n1 draining", "2 n2 draining"}, "1", "same kubernetes.io/hostname, n1"},
		{"a node that nobody knows", zone + ",*", []string{"5 n5 ready"}, "5", TopologyAll},
		{"hints don't count", region, []string{"1 n1 ready zone=z1", "2 n2 ready zone=z2"}, "1 2", "same topology.kubernetes.io/region, r1"},
		{"spaces", " " + hostname + " , * ", everywhere, "1", "same kubernetes.io/hostname, n1"},
		{"none at all", "", everywhere, "1 2 3 4", TopologyAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := Explain(svc(withKeys(c.keys)), []*discoveryv1.EndpointSlice{slice(c.endpoints...)}, node)[0]
			if got := short(e.Frontends[0].Cluster); got != c.cluster || e.Topology != c.topology {
				t.Errorf("got endpoints %q by %q; want %q by %q", got, e.Topology, c.cluster, c.topology)
			}
			for _, candidate := range e.Candidates {
				if len(c.endpoints) == 0 || candidate.Ready && candidate.Cluster.In() == (candidate.Cluster == OtherTopology || candidate.Cluster == NoTopology) {
					t.Errorf("%s is %q", candidate.Addr, candidate.Cluster)
				}
			}
		})
	}
}

// TestTopologyKeysDrop checks what comes of traffic that no key lets through.
func TestTopologyKeysDrop(t *testing.T) {
	node := Node{Name: "n1", Labels: map[string]map[string]string{"n1": {corev1.LabelHostname: "n1"}, "n2": {corev1.LabelHostname: "n2"}}}
	for endpoint, want := range map[string]string{"1 n1 ready": "forward cluster", "1 n2 ready": "drop", "1 n2 unready": "reject"} {
		for _, f := range Compile(svc(nodePortType, withKeys(corev1.LabelHostname)), []*discoveryv1.EndpointSlice{slice(endpoint)}, node) {
			if diff := cmp.Diff(want, word(f.Decisions[FromPod])); diff != "" {
				t.Errorf("%s of a Service with endpoint %s (-want +got):\n%s", f.Kind, endpoint, diff)
			}
		}
	}
	// A node of which nothing is known matches "*" alone.
	for keys, want := range map[string]string{corev1.LabelHostname: "", corev1.LabelHostname + ",*": "1"} {
		f := Compile(svc(withKeys(keys)), []*discoveryv1.EndpointSlice{slice("1 n2 ready")}, Node{Name: "new"})[0]
		if got := short(f.Cluster); got != want {
			t.Errorf("a new node has %q by keys %s, want %q", got, keys, want)
		}
	}
}
