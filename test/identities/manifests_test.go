package identities

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer/config/metallb"
)

// alone are the roles that only a cluster that something else runs needs: a
// cluster of Minato's own has MetalLB's kinds, elects nobody, and has several
// users for what an ingress does alone.
func alone(t *testing.T) map[string][]string {
	t.Helper()
	definitions, err := metallb.CustomResourceDefinitions()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range definitions {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return map[string][]string{
		"ClusterRole minato-loadbalancer-setup": {
			"create apiextensions.k8s.io/customresourcedefinitions []",
			fmt.Sprintf("get apiextensions.k8s.io/customresourcedefinitions %v", names),
		},
		"ClusterRole minato-ingress": {
			"create /events []", "get /events []",
			"list /configmaps []", "list /secrets []", "list /services []",
			"list discovery.k8s.io/endpointslices []",
			"list networking.k8s.io/ingressclasses []", "list networking.k8s.io/ingresses []",
			"patch /events []", "patch networking.k8s.io/ingresses/status []",
			"watch /configmaps []", "watch /secrets []", "watch /services []",
			"watch discovery.k8s.io/endpointslices []",
			"watch networking.k8s.io/ingressclasses []", "watch networking.k8s.io/ingresses []",
		},
		"Role ingress-nginx/minato-ingress": {
			"create coordination.k8s.io/leases []", "get /pods []",
			"get coordination.k8s.io/leases [ingress-nginx-leader]", "list /pods []",
			"update coordination.k8s.io/leases [ingress-nginx-leader]",
		},
		"Role metallb-system/minato-loadbalancer-election": {
			"create coordination.k8s.io/leases []",
			"get coordination.k8s.io/leases [minato-loadbalancer]",
			"update coordination.k8s.io/leases [minato-loadbalancer]",
		},
	}
}

// TestManifests compares the roles in deploy/ with those that a cluster of
// Minato's own has under the same names.
func TestManifests(t *testing.T) {
	want, alone := map[string][]rbacv1.PolicyRule{}, alone(t)
	for _, r := range access.ClusterRoles([]netip.Addr{dnsAddress}) {
		want["ClusterRole "+r.Name] = r.Rules
	}
	for _, r := range access.Roles() {
		want["Role "+r.Namespace+"/"+r.Name] = r.Rules
	}
	found := map[string]bool{}
	compare := func(file, key string, rules []rbacv1.PolicyRule) {
		found[key] = true
		have, want := expand(rules), expand(want[key])
		if other, ok := alone[key]; ok {
			want = other
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s: %s is\n%s\nand should be\n%s", file, key, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, file := range []string{"../../deploy/proxy.yaml", "../../deploy/dns.yaml", "../../deploy/loadbalancer.yaml", "../../deploy/ingress.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range bytes.Split(data, []byte("\n---\n")) {
			o, _, err := scheme.Codecs.UniversalDeserializer().Decode(doc, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			switch o := o.(type) {
			case *rbacv1.ClusterRole:
				compare(file, "ClusterRole "+o.Name, o.Rules)
			case *rbacv1.Role:
				compare(file, "Role "+o.Namespace+"/"+o.Name, o.Rules)
			case *rbacv1.ClusterRoleBinding:
				// Applied in a cluster of Minato's own, it would take the place of that.
				if access.Owns("", o.Name) {
					t.Errorf("%s: ClusterRoleBinding %s has the name of one of a cluster's own", file, o.Name)
				}
			case *rbacv1.RoleBinding:
				if access.Owns(o.Namespace, o.Name) {
					t.Errorf("%s: RoleBinding %s has the name of one of a cluster's own", file, o.Name)
				}
			}
		}
	}
	wanted := []string{
		"ClusterRole system:minato:proxy", "ClusterRole system:minato:dns", "Role kube-system/system:minato:dns",
		"ClusterRole system:minato:loadbalancer", "Role metallb-system/system:minato:loadbalancer",
		"ClusterRole system:minato:loadbalancer-node", "Role metallb-system/system:minato:loadbalancer-node",
	}
	for _, key := range slices.AppendSeq(wanted, maps.Keys(alone)) {
		if !found[key] {
			t.Errorf("no manifest has %s", key)
		}
	}
}

// expand has a line for each thing that the rules allow.
func expand(rules []rbacv1.PolicyRule) []string {
	var out []string
	for _, r := range rules {
		names := slices.Sorted(slices.Values(r.ResourceNames))
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					out = append(out, fmt.Sprintf("%s %s/%s %v", verb, group, resource, names))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
