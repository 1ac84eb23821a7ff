package route

import corev1 "k8s.io/api/core/v1"

// internalDecisions is for a cluster IP: the internal traffic policy holds for whoever uses it. Traffic from outside
// is masqueraded under policy Cluster, since its endpoint may answer past this node.
func internalDecisions(svc *corev1.Service, anywhere bool, f *Frontend) [Classes]Decision {
	set := ClusterSet
	if p := svc.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		set = LocalSet
	}
	return [Classes]Decision{
		FromPod:     decide(f, anywhere, Decision{Set: set}),
		FromHost:    decide(f, anywhere, Decision{Set: set}),
		FromOutside: decide(f, anywhere, Decision{Set: set, Masquerade: set == ClusterSet, Consistent: consistent(svc)}),
	}
}

// externalDecisions is for the addresses meant for clients outside. Those inside the cluster use every endpoint even
// under policy Local: the policy is about the path of outside traffic, and a client inside has no other node to try.
func externalDecisions(svc *corev1.Service, anywhere bool, f *Frontend) [Classes]Decision {
	outside := Decision{Set: ClusterSet, Masquerade: true, Consistent: consistent(svc)}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		outside.Set, outside.Masquerade = LocalSet, false
	}
	return [Classes]Decision{
		FromPod:     decide(f, anywhere, Decision{Set: ClusterSet}),
		FromHost:    decide(f, anywhere, Decision{Set: ClusterSet, Masquerade: true}),
		FromOutside: decide(f, anywhere, outside),
	}
}

// decide rejects when no node could serve, and drops when only this one can't.
func decide(f *Frontend, anywhere bool, want Decision) Decision {
	switch {
	case len(f.Backends(want.Set)) > 0:
		want.Verdict = Forward
	case anywhere:
		want.Verdict = Drop
	default:
		want.Verdict = Reject
	}
	if want.Verdict != Forward {
		want.Masquerade, want.Consistent = false, false
	}
	return want
}
