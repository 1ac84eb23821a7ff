// Package admit decides whether a node takes a Pod.
//
// Check is a pure function over the Pod, the Node and the Pods that the node
// has taken already: it asks nobody and keeps nothing. Who calls it answers for
// a Node that is at least as new as the Pod's binding.
//
// It refuses what kubelet's admission handlers refuse, with their reasons and
// messages, and what this node cannot give a Pod though the API accepts it, so
// that no Pod runs with less than it asked for. Kubelet's handlers, in their
// order, and what stands for each here:
//
//	eviction manager           pressure: reason Evicted
//	sysctl allowlist           upstream's own, with Options.Sysctls: SysctlForbidden
//	allocate resources         node/device, before Check: UnexpectedAdmissionError; there is no CPU, memory or
//	                           topology manager
//	predicates: OS             os: PodOSSelectorNodeLabelDoesNotMatch, PodOSNotSupported
//	predicates: groups policy  groups: SupplementalGroupsPolicyNotSupported
//	predicates: resources      resources: OutOfpods, OutOfcpu, OutOfmemory, OutOfephemeral-storage, OutOf…
//	predicates: node affinity  placement: NodeAffinity
//	predicates: node name      placement: NodeName
//	predicates: host ports     ports: NodePorts
//	predicates: NoExecute      placement: TaintToleration
//	resizes                    CheckResize: Deferred for whatever Check refuses
//	critical Pods              none: a critical Pod that does not fit is refused like any other; the scheduler
//	                           preempts for those that it places
//	AppArmor                   appArmor: AppArmor
//	Pod features               none: resources of a Pod as a whole are given
//	declared features          none: the node has those that a Pod can ask for
//	node shutdown              none: a node that is shut down starts no worker for a new Pod
//
// Of no handler, because a kubelet finds out when it makes the sandbox, or would
// grant them: hostUsers where the runtime has no user namespaces
// (UserNamespacesNotSupported), and resource claims where
// no driver can register (ResourceClaimsNotSupported).
//
// It may import the API's types, upstream's helpers for Pods, requests, affinity,
// taints and QoS classes, kubelet's sysctl allowlist, and node/spec.
package admit
