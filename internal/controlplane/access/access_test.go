package access

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"minato/internal/loadbalancer/config"
)

var dnsAddresses = []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:10:96::a")}

// TestRulesAreLists checks that no rule of ours allows what it doesn't name.
func TestRulesAreLists(t *testing.T) {
	check := func(role string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, s := range slices.Concat(r.Verbs, r.APIGroups, r.Resources) {
				if s == rbacv1.VerbAll {
					t.Errorf("%s allows everything of a kind: %v", role, r)
				}
			}
			known := role == config.Namespace+"/"+RoleLoadBalancerNode && slices.Equal(r.Verbs, []string{"get"}) ||
				role == RoleIngressNode && slices.Equal(r.Verbs, follow)
			if slices.Contains(r.Resources, "secrets") && !known {
				t.Errorf("%s has to do with Secrets: %v", role, r)
			}
		}
	}
	for _, r := range ClusterRoles(dnsAddresses) {
		check(r.Name, r.Rules)
		if r.Name == RoleDNSRegistration && !slices.Equal(r.Rules[0].ResourceNames, []string{"10.96.0.10", "fd00:10:96::a"}) {
			t.Errorf("%s is about the addresses %v", r.Name, r.Rules[0].ResourceNames)
		}
	}
	for _, r := range Roles() {
		check(r.Namespace+"/"+r.Name, r.Rules)
	}
}

// TestNodesWriteNoService checks that what runs on a node, besides events, writes only reports.
func TestNodesWriteNoService(t *testing.T) {
	var rules []rbacv1.PolicyRule
	for _, r := range ClusterRoles(nil) {
		if r.Name == RoleLoadBalancerNode {
			rules = append(rules, r.Rules...)
		}
	}
	for _, r := range Roles() {
		if r.Name == RoleLoadBalancerNode {
			rules = append(rules, r.Rules...)
		}
	}
	written := map[string]bool{}
	for _, r := range rules {
		for _, v := range r.Verbs {
			if !slices.Contains(read, v) {
				for _, resource := range r.Resources {
					written[resource] = true
				}
			}
		}
	}
	want := append(slices.Concat(reports, statusOf(reports)), "events")
	slices.Sort(want)
	if have := slices.Sorted(maps.Keys(written)); !slices.Equal(have, want) {
		t.Errorf("the nodes' part of load balancing writes %v, want %v", have, want)
	}
}

// TestEveryUserIsBound checks that each user has roles, and each role a user.
func TestEveryUserIsBound(t *testing.T) {
	bound, used := map[string]bool{}, map[string]bool{}
	for _, b := range ClusterRoleBindings() {
		bound[b.Subjects[0].Name], used[b.RoleRef.Name] = true, true
	}
	for _, b := range RoleBindings() {
		bound[b.Subjects[0].Name], used[b.Namespace+"/"+b.RoleRef.Name] = true, true
	}
	for _, name := range append(Users(), UserKubeletClient, GroupAdmins) {
		if !bound[name] {
			t.Errorf("%s has no role", name)
		}
	}
	for _, r := range ClusterRoles(nil) {
		aggregated := r.Name == RoleMetricsReader
		if used[r.Name] == aggregated || !Owns("", r.Name) {
			t.Errorf("ClusterRole %s is nobody's", r.Name)
		}
	}
	for _, r := range Roles() {
		if !used[r.Namespace+"/"+r.Name] || !Owns(r.Namespace, r.Name) {
			t.Errorf("Role %s is nobody's", r.Name)
		}
	}
	if Owns("", "system:node") || Owns("default", RoleDNS) {
		t.Error("roles of others are taken for ours")
	}
}

// granted tells whether a Role that the user is bound to in the probe's namespace gives the right.
func granted(p Probe) bool {
	for _, b := range RoleBindings() {
		if b.Namespace != p.Namespace || b.Subjects[0].Name != p.User {
			continue
		}
		for _, r := range Roles() {
			if r.Namespace != b.Namespace || r.Name != b.RoleRef.Name {
				continue
			}
			for _, rule := range r.Rules {
				if slices.Contains(rule.Verbs, p.Verb) && slices.Contains(rule.APIGroups, p.APIGroup) && slices.Contains(rule.Resources, p.Resource) &&
					(len(rule.ResourceNames) == 0 && p.Name == "" || slices.Contains(rule.ResourceNames, p.Name)) {
					return true
				}
			}
		}
	}
	return false
}

func TestProbes(t *testing.T) {
	asked := map[string]int{}
	for _, p := range Probes(dnsAddresses) {
		asked[p.User]++
		if p.Verb == "" || p.Resource == "" {
			t.Errorf("%+v asks for nothing", p)
		}
		if p.Namespace != "" && !granted(p) {
			t.Errorf("%+v asks for what no Role in that namespace gives, so that each start waits for it in vain", p)
		}
	}
	for user, n := range map[string]int{UserProxy: 4, UserDNS: 2 + 1 + 2 + 3, UserPodNetwork: 1, UserLoadBalancer: 6 + 3, UserLoadBalancerNode: 4 + 4, UserIngress: 3 + 3, UserIngressNode: 2 + 1, UserUsage: 2, UserParts: 1 + 2 + 2, UserStatus: 1} {
		if asked[user] != n {
			t.Errorf("%d rights of %s are asked about, want %d", asked[user], user, n)
		}
	}
}
