package access

import (
	"net/netip"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/loadbalancer/config"
)

// Names of the roles. The manifests in deploy/ define RoleProxy, RoleDNS,
// RoleLoadBalancer and RoleLoadBalancerNode with the same rules, for clusters
// that something else runs.
const (
	RoleProxy            = "system:minato:proxy"
	RoleDNS              = "system:minato:dns"
	RoleDNSRegistration  = "system:minato:dns-registration"
	RolePodNetwork       = "system:minato:podnet"
	RoleLoadBalancer     = "system:minato:loadbalancer"
	RoleLoadBalancerNode = "system:minato:loadbalancer-node"
	RoleIngress          = "system:minato:ingress"
	RoleIngressNode      = "system:minato:ingress-node"
	RoleUsage            = "system:minato:usage"
	RoleClaims           = "system:minato:claims"
	RoleClaimsNode       = "system:minato:claims-node"
	RoleNodes            = "system:minato:nodes"
	RoleParts            = "system:minato:parts"
	// RoleClusterInfo is kubeadm's.
	RoleClusterInfo = "kubeadm:bootstrap-signer-clusterinfo"
	RoleStatus      = "system:minato:status"
)

// RoleMetricsReader is metrics-server's role for readers of metrics.k8s.io, which
// is a part of the roles view, edit and admin.
const RoleMetricsReader = "system:aggregated-metrics-reader"

// API groups of the rules.
const (
	groupCore       = ""
	groupDiscovery  = "discovery.k8s.io"
	groupEvents     = "events.k8s.io"
	groupMetalLB    = "metallb.io"
	groupMetrics    = "metrics.k8s.io"
	groupNetworking = "networking.k8s.io"
	groupStorage    = "storage.k8s.io"
)

// follow are the verbs of a part that watches objects, read those of a part
// that gets single ones as well.
var (
	follow = []string{"list", "watch"}
	read   = []string{"get", "list", "watch"}
)

// Resources of MetalLB's group: what people write, and what tells them what was
// made of it.
var (
	configurations = []string{"bfdprofiles", "bgpadvertisements", "bgppeers", "communities", "ipaddresspools", "l2advertisements"}
	reports        = []string{"configurationstates", "servicebgpstatuses", "servicel2statuses"}
)

// statusOf are the status subresources of resources.
func statusOf(resources []string) []string {
	out := make([]string, 0, len(resources))
	for _, r := range resources {
		out = append(out, r+"/status")
	}
	return out
}

func rule(verbs []string, group string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: resources}
}

func named(r rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	r.ResourceNames = names
	return r
}

// ClusterRoles are the rights that hold in every namespace. dnsAddresses are
// the addresses of the kube-dns Service: an allocation of one of them that a
// killed API server left behind may be freed, and no other.
func ClusterRoles(dnsAddresses []netip.Addr) []rbacv1.ClusterRole {
	addresses := make([]string, 0, len(dnsAddresses))
	for _, a := range dnsAddresses {
		addresses = append(addresses, a.String())
	}
	role := func(name string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
		return rbacv1.ClusterRole{ObjectMeta: meta("", name), Rules: rules}
	}
	return []rbacv1.ClusterRole{
		role(RoleProxy,
			rule(read, groupCore, "services", "nodes"),
			rule(read, groupDiscovery, "endpointslices"),
			rule(read, groupNetworking, "servicecidrs"),
			rule([]string{"create", "patch"}, groupEvents, "events"),
		),
		role(RoleDNS,
			rule(follow, groupCore, "services", "namespaces", "pods"),
			rule(follow, groupDiscovery, "endpointslices"),
		),
		role(RoleDNSRegistration, named(rule([]string{"get", "delete"}, groupNetworking, "ipaddresses"), addresses...)),
		role(RolePodNetwork, rule(follow, groupCore, "nodes")),
		role(RoleLoadBalancer,
			rule([]string{"get", "list", "watch", "patch"}, groupCore, "services"),
			rule([]string{"patch"}, groupCore, "services/status"),
			rule(read, groupCore, "namespaces"),
			rule([]string{"get", "create", "patch"}, groupCore, "events"),
			rule(read, groupMetalLB, configurations...),
			rule([]string{"patch"}, groupMetalLB, statusOf(configurations)...),
		),
		role(RoleLoadBalancerNode,
			rule(read, groupCore, "services", "nodes"),
			rule(read, groupDiscovery, "endpointslices"),
			rule([]string{"get", "create", "patch"}, groupCore, "events"),
			rule(read, groupMetalLB, configurations...),
		),
		role(RoleIngress,
			rule([]string{"patch"}, groupNetworking, "ingresses/status"),
			rule([]string{"create"}, groupNetworking, "ingressclasses"),
			rule([]string{"get", "create", "patch"}, groupCore, "events"),
		),
		// Secrets and ConfigMaps are read by name, those alone that Ingresses and
		// settings refer to. No rule can list these names.
		role(RoleIngressNode,
			rule(follow, groupNetworking, "ingresses", "ingressclasses"),
			rule(follow, groupCore, "secrets", "configmaps"),
		),
		role(RoleUsage,
			rule([]string{"get", "list"}, groupCore, "nodes", "pods"),
			rule([]string{"get"}, groupCore, "nodes/metrics"),
		),
		role(RoleClaims, rule([]string{"create"}, groupStorage, "storageclasses")),
		role(RoleClaimsNode,
			rule(follow, groupCore, "persistentvolumeclaims"),
			rule([]string{"get", "list", "watch", "create", "update", "delete"}, groupCore, "persistentvolumes"),
			rule(follow, groupStorage, "storageclasses"),
			rule([]string{"get", "create", "patch"}, groupCore, "events"),
		),
		// People choose the names of nodes.
		role(RoleNodes,
			rule([]string{"delete"}, groupCore, "nodes"),
			rule([]string{"list", "delete"}, groupCore, "pods"),
			rule([]string{"get", "list", "update", "delete"}, groupCore, "persistentvolumes"),
		),
		role(RoleParts, named(rule([]string{"patch"}, groupCore, "nodes"), ControlPlaneNode)),
		role(RoleStatus, rule([]string{"get"}, groupCore, "pods")),
		metricsReader(),
	}
}

// metricsReader is what everybody who may look at workloads may see of what they
// use.
func metricsReader() rbacv1.ClusterRole {
	r := rbacv1.ClusterRole{ObjectMeta: meta("", RoleMetricsReader), Rules: []rbacv1.PolicyRule{rule(read, groupMetrics, "nodes", "pods")}}
	for _, into := range []string{"view", "edit", "admin"} {
		r.Labels["rbac.authorization.k8s.io/aggregate-to-"+into] = "true"
	}
	return r
}

// Roles are the rights that hold in one namespace: kube-system, kube-public, or that
// of MetalLB's objects.
func Roles() []rbacv1.Role {
	role := func(namespace, name string, rules ...rbacv1.PolicyRule) rbacv1.Role {
		return rbacv1.Role{ObjectMeta: meta(namespace, name), Rules: rules}
	}
	return []rbacv1.Role{
		role(metav1.NamespaceSystem, RoleDNS,
			named(rule(read, groupCore, "configmaps"), "minato-dns", "coredns"),
			rule([]string{"create"}, groupCore, "events"),
		),
		// The EndpointSlices are named after nodes, which no rule can list, and an
		// object that is yet to be created has no name to compare.
		role(metav1.NamespaceSystem, RoleDNSRegistration,
			rule([]string{"create"}, groupCore, "services"),
			named(rule([]string{"get", "update"}, groupCore, "services"), "kube-dns"),
			rule([]string{"get", "create", "update", "delete"}, groupDiscovery, "endpointslices"),
		),
		role(metav1.NamespaceSystem, RoleIngress,
			rule([]string{"create"}, groupCore, "services", "configmaps"),
			named(rule([]string{"update"}, groupCore, "services"), "minato-ingress"),
			named(rule([]string{"get"}, groupCore, "configmaps"), "minato-ingress-classes"),
		),
		role(metav1.NamespaceSystem, RoleClaims,
			rule([]string{"create"}, groupCore, "configmaps"),
			named(rule([]string{"get"}, groupCore, "configmaps"), "minato-storage-classes"),
		),
		// The EndpointSlices are named after nodes.
		role(metav1.NamespaceSystem, RoleIngressNode, rule([]string{"create", "update"}, groupDiscovery, "endpointslices")),
		role(metav1.NamespaceSystem, RoleNodes, rule([]string{"delete"}, groupDiscovery, "endpointslices")),
		// An object that is yet to be created has no name to compare.
		role(metav1.NamespaceSystem, RoleParts,
			rule([]string{"create"}, groupCore, "configmaps"),
			named(rule([]string{"get", "update"}, groupCore, "configmaps"), "coredns", "kube-proxy", "kubeadm-config", "kubelet-config"),
		),
		role(metav1.NamespacePublic, RoleParts,
			rule([]string{"create"}, groupCore, "configmaps"),
			named(rule([]string{"get", "update"}, groupCore, "configmaps"), "cluster-info"),
		),
		// For machines that want to join and know no one yet, as with kubeadm.
		role(metav1.NamespacePublic, RoleClusterInfo, named(rule([]string{"get"}, groupCore, "configmaps"), "cluster-info")),
		role(config.Namespace, RoleLoadBalancer, append(reporting(), named(rule(read, groupCore, "configmaps"), "config"))...),
		// People choose the names of the Secrets with BGP passwords.
		role(config.Namespace, RoleLoadBalancerNode, append(reporting(),
			named(rule(read, groupCore, "configmaps"), "config"),
			rule([]string{"get"}, groupCore, "secrets"),
		)...),
	}
}

// reporting are the rights to tell what was made of the configuration.
func reporting() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule([]string{"get", "list", "watch", "create", "update", "patch", "delete"}, groupMetalLB, reports...),
		rule([]string{"update", "patch"}, groupMetalLB, statusOf(reports)...),
	}
}

// ClusterRoleBindings bind ClusterRoles to users and groups.
func ClusterRoleBindings() []rbacv1.ClusterRoleBinding {
	binding := func(name, role string, subject rbacv1.Subject) rbacv1.ClusterRoleBinding {
		return rbacv1.ClusterRoleBinding{
			ObjectMeta: meta("", name), Subjects: []rbacv1.Subject{subject},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}
	}
	return []rbacv1.ClusterRoleBinding{
		binding(RoleProxy, RoleProxy, user(UserProxy)),
		binding(RoleDNS, RoleDNS, user(UserDNS)),
		binding(RoleDNSRegistration, RoleDNSRegistration, user(UserDNS)),
		binding(RolePodNetwork, RolePodNetwork, user(UserPodNetwork)),
		binding(RoleLoadBalancer, RoleLoadBalancer, user(UserLoadBalancer)),
		binding(RoleLoadBalancerNode, RoleLoadBalancerNode, user(UserLoadBalancerNode)),
		binding(RoleIngress, RoleIngress, user(UserIngress)),
		binding(RoleIngressNode, RoleIngressNode, user(UserIngressNode)),
		binding(RoleUsage, RoleUsage, user(UserUsage)),
		binding(RoleClaims, RoleClaims, user(UserClaims)),
		binding(RoleClaimsNode, RoleClaimsNode, user(UserClaimsNode)),
		binding(RoleNodes, RoleNodes, user(UserNodes)),
		binding(RoleParts, RoleParts, user(UserParts)),
		binding(RoleStatus, RoleStatus, user(UserStatus)),
		binding("system:minato:kubelet-client", "system:kubelet-api-admin", user(UserKubeletClient)),
		binding(GroupAdmins, "cluster-admin", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: GroupAdmins}),
	}
}

// RoleBindings bind Roles to users.
func RoleBindings() []rbacv1.RoleBinding {
	binding := func(namespace, role, name string) rbacv1.RoleBinding {
		return rbacv1.RoleBinding{
			ObjectMeta: meta(namespace, role), Subjects: []rbacv1.Subject{user(name)},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		}
	}
	return []rbacv1.RoleBinding{
		binding(metav1.NamespaceSystem, RoleDNS, UserDNS),
		binding(metav1.NamespaceSystem, RoleDNSRegistration, UserDNS),
		binding(metav1.NamespaceSystem, RoleIngress, UserIngress),
		binding(metav1.NamespaceSystem, RoleIngressNode, UserIngressNode),
		binding(metav1.NamespaceSystem, RoleClaims, UserClaims),
		binding(metav1.NamespaceSystem, RoleNodes, UserNodes),
		binding(metav1.NamespaceSystem, RoleParts, UserParts),
		binding(metav1.NamespacePublic, RoleParts, UserParts),
		binding(metav1.NamespacePublic, RoleClusterInfo, UserAnonymous),
		binding(config.Namespace, RoleLoadBalancer, UserLoadBalancer),
		binding(config.Namespace, RoleLoadBalancerNode, UserLoadBalancerNode),
	}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

// meta marks an object as upstream marks its own: it is brought up to date at
// every start, unless somebody sets the annotation to false.
func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels:      map[string]string{"minato/bootstrapping": "rbac"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

// Owns tells whether a role or binding of that name is one of this package's;
// namespace is empty for ClusterRoles and their bindings.
func Owns(namespace, name string) bool {
	named := func(o metav1.ObjectMeta) bool { return o.Namespace == namespace && o.Name == name }
	return slices.ContainsFunc(ClusterRoles(nil), func(r rbacv1.ClusterRole) bool { return named(r.ObjectMeta) }) ||
		slices.ContainsFunc(ClusterRoleBindings(), func(b rbacv1.ClusterRoleBinding) bool { return named(b.ObjectMeta) }) ||
		slices.ContainsFunc(Roles(), func(r rbacv1.Role) bool { return named(r.ObjectMeta) }) ||
		slices.ContainsFunc(RoleBindings(), func(b rbacv1.RoleBinding) bool { return named(b.ObjectMeta) })
}
