package identities

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer/config"
)

var update = flag.Bool("update", false, "write the golden list anew")

// subject is somebody who has rights, as a request shows him.
type subject struct {
	title  string
	user   string
	groups []string
}

// everybody is what all that are known to the API server may do. It is not
// repeated for each.
const everybody = "Group system:authenticated"

// testRights asks the API server what each identity may do, as `kubectl auth
// can-i --list` does: everybody whom any binding names, and a node.
func testRights(ctx context.Context, t *testing.T, c *cluster) {
	common := rulesOf(ctx, t, c, subject{user: "somebody"}, "default")
	var b strings.Builder
	for _, s := range subjects(ctx, t, c) {
		fmt.Fprintf(&b, "# %s\n", s.title)
		everywhere := rulesOf(ctx, t, c, s, "default")
		if s.title != everybody {
			everywhere = without(everywhere, common)
		}
		for _, r := range everywhere {
			fmt.Fprintf(&b, "%s\n", r)
		}
		for _, namespace := range []string{"kube-system", config.Namespace} {
			inside := rulesOf(ctx, t, c, s, namespace)
			if s.title != everybody {
				inside = without(inside, common)
			}
			if inside = without(inside, everywhere); len(inside) > 0 {
				fmt.Fprintf(&b, "in %s:\n", namespace)
				for _, r := range inside {
					fmt.Fprintf(&b, "%s\n", r)
				}
			}
		}
		fmt.Fprintln(&b)
	}
	golden := filepath.Join("testdata", "rights.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	have, known := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(have), len(known)) {
		if i >= len(have) || i >= len(known) || have[i] != known[i] {
			t.Fatalf("rights differ from %s from line %d on; if that is meant, run with -update and read the difference:\n%s", golden, i+1, strings.Join(have[min(i, len(have)):min(i+10, len(have))], "\n"))
		}
	}
}

// subjects are all that bindings name.
func subjects(ctx context.Context, t *testing.T, c *cluster) []subject {
	t.Helper()
	var named []rbacv1.Subject
	clusterBindings, err := c.admin.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range clusterBindings.Items {
		named = append(named, b.Subjects...)
	}
	bindings, err := c.admin.RbacV1().RoleBindings("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings.Items {
		named = append(named, b.Subjects...)
	}
	out := []subject{{"Node node-1", "system:node:node-1", []string{"system:nodes"}}}
	for _, s := range named {
		switch s.Kind {
		case rbacv1.UserKind:
			if s.Name == access.UserAnonymous {
				continue // whoever is not known may not ask what he may do
			}
			out = append(out, subject{"User " + s.Name, s.Name, nil})
		case rbacv1.GroupKind:
			out = append(out, subject{"Group " + s.Name, "somebody", []string{s.Name}})
		case rbacv1.ServiceAccountKind:
			out = append(out, subject{
				"ServiceAccount " + s.Namespace + "/" + s.Name, "system:serviceaccount:" + s.Namespace + ":" + s.Name,
				[]string{"system:serviceaccounts", "system:serviceaccounts:" + s.Namespace},
			})
		}
	}
	slices.SortFunc(out, func(a, b subject) int { return cmp.Compare(a.title, b.title) })
	return slices.CompactFunc(out, func(a, b subject) bool { return a.title == b.title })
}

// rulesOf lists what somebody may do in a namespace, a line for each verb list.
func rulesOf(ctx context.Context, t *testing.T, c *cluster, s subject, namespace string) []string {
	t.Helper()
	review, err := c.client(t, s.user, s.groups...).AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("%s: %v", s.title, err)
	}
	verbs := map[string][]string{}
	add := func(what string, names, may []string) {
		if len(names) > 0 {
			slices.Sort(names)
			what += " " + strings.Join(names, ",")
		}
		verbs[what] = append(verbs[what], may...)
	}
	for _, r := range review.Status.ResourceRules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				name, sub, _ := strings.Cut(resource, "/")
				if group != "" {
					name += "." + group
				}
				if sub != "" {
					name += "/" + sub
				}
				add(name, r.ResourceNames, r.Verbs)
			}
		}
	}
	for _, r := range review.Status.NonResourceRules {
		for _, url := range r.NonResourceURLs {
			add(url, nil, r.Verbs)
		}
	}
	var out []string
	for what, may := range verbs {
		slices.Sort(may)
		out = append(out, fmt.Sprintf("%s: %s", what, strings.Join(slices.Compact(may), " ")))
	}
	slices.Sort(out)
	if review.Status.Incomplete {
		out = append(out, "and what the node authorizer decides by the object")
	}
	return out
}

func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}
