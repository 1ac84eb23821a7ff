package access

import "minato/internal/controlplane/pki"

// Users of the parts that are connected in memory. They have no certificate
// (but for UserUsage) and no token, so nobody outside of the process can be one
// of them.
const (
	// UserProxy reads Services, EndpointSlices and Nodes for the Service data
	// plane of every node.
	UserProxy = "system:minato:proxy"
	// UserDNS reads what the cluster's names are made of and keeps the kube-dns
	// Service and its EndpointSlices.
	UserDNS = "system:minato:dns"
	// UserPodNetwork reads Nodes, for the routes between their Pods.
	UserPodNetwork = "system:minato:podnet"
	// UserLoadBalancer gives Services of type LoadBalancer their addresses.
	UserLoadBalancer = "system:minato:loadbalancer"
	// UserLoadBalancerNode announces these addresses, for every node.
	UserLoadBalancerNode = "system:minato:loadbalancer-node"
	// UserIngress writes the status of Ingresses and makes what a cluster has once
	// for them.
	UserIngress = "system:minato:ingress"
	// UserIngressNode reads what the proxies of all nodes are made from, and keeps
	// the nodes' EndpointSlices of the Service.
	UserIngressNode = "system:minato:ingress-node"
	// UserUsage asks nodes what their Pods use. It is connected in memory and,
	// unlike the others, has a certificate for the nodes, which is in no file.
	UserUsage = "system:minato:usage"
	// UserClaims makes the StorageClass standard.
	UserClaims = "system:minato:claims"
	// UserClaimsNode writes the PersistentVolumes for directories of nodes, for
	// every node.
	UserClaimsNode = "system:minato:claims-node"
	// UserNodes removes what the API has of nodes that are removed.
	UserNodes = "system:minato:nodes"
	// UserParts labels the node of the control plane, and writes the ConfigMaps that
	// say how the cluster is set up.
	UserParts = "system:minato:parts"
	// UserStatus reads single Pods, to explain how their requests are answered.
	UserStatus = "system:minato:status"
)

// Users are the users of Minato's own parts.
func Users() []string {
	return []string{UserProxy, UserDNS, UserPodNetwork, UserLoadBalancer, UserLoadBalancerNode, UserIngress, UserIngressNode, UserUsage, UserClaims, UserClaimsNode, UserNodes, UserParts, UserStatus}
}

// ControlPlaneNode is the name of the Node beside which the control plane runs.
const ControlPlaneNode = "node-1"

// Names that upstream's tools know, too.
const (
	// UserKubeletClient is the user as which the API server calls the nodes'
	// agents.
	UserKubeletClient = pki.KubeletClientName
	// UserAnonymous is whoever shows neither a certificate nor a token.
	UserAnonymous = "system:anonymous"
	// GroupAdmins are the administrators. kubeadm's group of that name has the
	// same rights; unlike those of system:masters they can be taken away.
	GroupAdmins = pki.AdminGroup
)
