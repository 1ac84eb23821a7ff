package access

import (
	"net/netip"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Probe is one thing that somebody may do, to ask an authorizer about. User or
// Group is empty, and so is Namespace where the right holds in all of them.
type Probe struct {
	User, Group                               string
	Verb, APIGroup, Resource, Name, Namespace string
}

// Probes has one Probe for each rule that is bound to a user of Minato's own
// parts; dnsAddresses are those of ClusterRoles.
func Probes(dnsAddresses []netip.Addr) []Probe {
	clusterRoles, roles := map[string][]rbacv1.PolicyRule{}, map[string][]rbacv1.PolicyRule{}
	for _, r := range ClusterRoles(dnsAddresses) {
		clusterRoles[r.Name] = r.Rules
	}
	for _, r := range Roles() {
		roles[r.Namespace+"/"+r.Name] = r.Rules // the same name means other things elsewhere
	}
	var out []Probe
	for _, b := range ClusterRoleBindings() {
		out = append(out, probes(b.Subjects, clusterRoles[b.RoleRef.Name], "")...)
	}
	for _, b := range RoleBindings() {
		out = append(out, probes(b.Subjects, roles[b.Namespace+"/"+b.RoleRef.Name], b.Namespace)...)
	}
	return out
}

func probes(subjects []rbacv1.Subject, rules []rbacv1.PolicyRule, namespace string) []Probe {
	var out []Probe
	for _, s := range subjects {
		for _, r := range rules {
			p := Probe{User: s.Name, Verb: r.Verbs[0], APIGroup: r.APIGroups[0], Resource: r.Resources[0], Namespace: namespace}
			if len(r.ResourceNames) > 0 {
				p.Name = r.ResourceNames[0]
			}
			out = append(out, p)
		}
	}
	return out
}
