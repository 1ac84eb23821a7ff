package identities

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"minato/internal/controlplane/access"
)

// TestManifests compares the roles in deploy/ with those that a cluster of
// Minato's own has under the same names.
func TestManifests(t *testing.T) {
	want := map[string][]rbacv1.PolicyRule{}
	for _, r := range access.ClusterRoles([]netip.Addr{dnsAddress}) {
		want["ClusterRole "+r.Name] = r.Rules
	}
	for _, r := range access.Roles() {
		want["Role "+r.Namespace+"/"+r.Name] = r.Rules
	}
	found := map[string]bool{}
	compare := func(file, key string, rules []rbacv1.PolicyRule) {
		found[key] = true
		if have, want := expand(rules), expand(want[key]); !slices.Equal(have, want) {
			t.Errorf("%s: %s is\n%s\nand in a cluster\n%s", file, key, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, file := range []string{"../../deploy/proxy.yaml", "../../deploy/dns.yaml"} {
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
	for _, key := range []string{"ClusterRole system:minato:proxy", "ClusterRole system:minato:dns", "Role kube-system/system:minato:dns"} {
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
