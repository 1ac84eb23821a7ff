package dataplane

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"minato/internal/service/route"
)

// TestScenarios goes from the YAML of a cluster's objects to what the kernel's tables hold of them, see README.md of
// package service. With -update the golden files are written anew.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("scenarios", name), runScenario(t, string(text)))
		})
	}
}

const stepMark = "# STEP "

// runScenario applies one state of the cluster after the other: a step has all the objects that there are, and begins
// with a line of its own.
func runScenario(t *testing.T, text string) []byte {
	t.Helper()
	r := newRig(t)
	d := &DataPlane{
		cfg: Config{NodeName: "node-1"}, log: discard(), collection: r.collection, reconciler: r.reconciler,
		nodes: map[address]node{}, routes: newRoutes(nil, 0, true, nil),
	}
	if err := d.nodeTable().each(func(a address, n node) { d.nodes[a] = n }); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	applied := map[types.NamespacedName]bool{}
	for i, step := range strings.Split(text, stepMark) {
		title, objects, _ := strings.Cut(step, "\n")
		if i == 0 {
			continue // what is said about the scenario
		}
		desired, nodes := scenarioState(t, objects)
		for key := range applied {
			if _, still := desired[key]; !still {
				desired[key] = nil
			}
		}
		for key := range desired {
			applied[key] = true
		}
		if err := errors.Join(d.SetNodes(nodes), d.reconciler.apply(desired)); err != nil {
			t.Fatal(err)
		}
		for key, frontends := range desired {
			if !d.reconciler.holds(key, frontends) {
				t.Errorf("%s: %s is not in step", title, key)
			}
		}
		dump, err := d.Dump()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s%s\n%s\n", stepMark, title, dump)
	}
	return out.Bytes()
}

// scenarioState is what node-1 decides about the objects, as the controller does.
func scenarioState(t *testing.T, objects string) (map[types.NamespacedName][]route.Frontend, []route.Node) {
	t.Helper()
	var (
		services []*corev1.Service
		slices   = map[types.NamespacedName][]*discoveryv1.EndpointSlice{}
		pods     []*corev1.Pod
		nodes    []route.Node
		self     route.Node
	)
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(objects)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "":
		case "Node":
			n := decode[corev1.Node](t, doc)
			at := route.Node{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone]}
			for _, a := range n.Status.Addresses {
				at.Addrs = append(at.Addrs, netip.MustParseAddr(a.Address))
			}
			if nodes = append(nodes, at); n.Name == "node-1" {
				self = at
			}
		case "Service":
			services = append(services, decode[corev1.Service](t, doc))
		case "EndpointSlice":
			s := decode[discoveryv1.EndpointSlice](t, doc)
			of := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
			slices[of] = append(slices[of], s)
		case "Pod":
			pods = append(pods, decode[corev1.Pod](t, doc))
		default:
			t.Fatalf("a scenario has a %s", kind.Kind)
		}
	}
	desired := map[types.NamespacedName][]route.Frontend{}
	for _, s := range services {
		key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
		desired[key] = route.Compile(s, slices[key], self)
	}
	for _, p := range pods {
		key := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
		desired[route.PodKey(p.Namespace, p.Name)] = route.CompileHostPorts(key, route.HostPorts(p), self)
	}
	return desired, nodes
}

func decode[T any](t *testing.T, doc []byte) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict(doc, out); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	return out
}
