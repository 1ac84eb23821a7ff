package admit

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	corev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"

	"minato/internal/node/spec"
)

// Options are what a node is set to.
type Options struct {
	// Sysctls tells which sysctls a Pod may set; nil forbids them all.
	Sysctls *Sysctls
	// AppArmor tells that the machine enforces AppArmor's profiles.
	AppArmor bool
	// OwnPorts are ports at which the node itself answers; their IP is ignored.
	OwnPorts []HostPort
	// Claims tells that the node takes drivers of dynamic resources.
	Claims bool
}

// Input is what a decision depends on.
type Input struct {
	Pod  *v1.Pod
	Node *v1.Node
	// Others are the Pods that the node has taken and that the API still has,
	// but for those of which nothing runs any more, with the resources that the
	// node has granted them.
	Others []*v1.Pod
	// Allocated are the devices of the node's plugins that Pods have, this one's
	// among them. The Node may not know of them yet, or no more.
	Allocated v1.ResourceList
	Options
}

// Refusal is why a node does not take a Pod, in the words of the Pod's status
// and of an event.
type Refusal struct{ Reason, Message string }

// Reasons that are kubelet's, and those of what it would grant.
const (
	reasonEvicted        = "Evicted"
	reasonSysctl         = "SysctlForbidden"
	reasonOSSelector     = "PodOSSelectorNodeLabelDoesNotMatch"
	reasonOS             = "PodOSNotSupported"
	reasonGroups         = "SupplementalGroupsPolicyNotSupported"
	reasonAppArmor       = "AppArmor"
	reasonResourceClaims = "ResourceClaimsNotSupported"
	reasonUserNamespaces = "UserNamespacesNotSupported"
)

// Check returns why the node does not take the Pod, nil if it does.
func Check(in Input) *Refusal {
	for _, check := range []func(Input) *Refusal{pressure, sysctls, os, groups, predicates, appArmor, resourceClaims, userNamespaces} {
		if r := check(in); r != nil {
			return r
		}
	}
	return nil
}

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// pressure keeps new Pods away from a node that runs out of something.
func pressure(in Input) *Refusal {
	var under []string
	for _, c := range in.Node.Status.Conditions {
		switch c.Type {
		case v1.NodeMemoryPressure, v1.NodeDiskPressure, v1.NodePIDPressure:
			if c.Status == v1.ConditionTrue {
				under = append(under, string(c.Type))
			}
		}
	}
	if len(under) == 0 || spec.Critical(in.Pod) {
		return nil
	}
	if slices.Equal(under, []string{string(v1.NodeMemoryPressure)}) {
		taint := &v1.Taint{Key: v1.TaintNodeMemoryPressure, Effect: v1.TaintEffectNoSchedule}
		if qos.GetPodQOS(in.Pod) != v1.PodQOSBestEffort || corev1.TolerationsTolerateTaint(klog.Logger{}, in.Pod.Spec.Tolerations, taint, false) {
			return nil
		}
	}
	return refuse(reasonEvicted, "The node had condition: %v. ", under)
}

func sysctls(in Input) *Refusal {
	sc := in.Pod.Spec.SecurityContext
	if sc == nil || len(sc.Sysctls) == 0 {
		return nil
	}
	if in.Sysctls == nil {
		return refuse(reasonSysctl, "forbidden sysctl: %q not allowlisted", sc.Sysctls[0].Name)
	}
	return in.Sysctls.check(in.Pod)
}

// os compares the operating systems that the Pod names with the node's.
func os(in Input) *Refusal {
	if name, ok := in.Pod.Labels[v1.LabelOSStable]; ok && name != runtime.GOOS {
		return refuse(reasonOSSelector, "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
	}
	if in.Pod.Spec.OS != nil && string(in.Pod.Spec.OS.Name) != runtime.GOOS {
		return refuse(reasonOS, "Failed to admit pod as the OS field doesn't match node OS")
	}
	return nil
}

func groups(in Input) *Refusal {
	sc := in.Pod.Spec.SecurityContext
	if sc == nil || sc.SupplementalGroupsPolicy == nil || *sc.SupplementalGroupsPolicy != v1.SupplementalGroupsPolicyStrict {
		return nil
	}
	if f := in.Node.Status.Features; f != nil && f.SupplementalGroupsPolicy != nil && *f.SupplementalGroupsPolicy {
		return nil
	}
	return refuse(reasonGroups, "SupplementalGroupsPolicy=%s is not supported in this node", v1.SupplementalGroupsPolicyStrict)
}

// predicates are what the scheduler checks too; a Pod may have been bound by
// hand, or the node may have changed since.
func predicates(in Input) *Refusal {
	for _, check := range []func(Input) *Refusal{resources, placement, ports, taints} {
		if r := check(in); r != nil {
			return r
		}
	}
	return nil
}

func predicate(name, why string) *Refusal {
	return refuse(name, "Predicate %s failed: %s", name, why)
}

func placement(in Input) *Refusal {
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(in.Pod).Match(in.Node); err != nil || !ok {
		return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	if name := in.Pod.Spec.NodeName; name != "" && name != in.Node.Name {
		return predicate("NodeName", "node(s) didn't match the requested node name")
	}
	return nil
}

// taints are only those that would drive the Pod away again at once: the
// others are the scheduler's affair.
func taints(in Input) *Refusal {
	noExecute := func(t *v1.Taint) bool { return t.Effect == v1.TaintEffectNoExecute }
	_, found := corev1.FindMatchingUntoleratedTaint(klog.Logger{}, in.Node.Spec.Taints, in.Pod.Spec.Tolerations, noExecute, false)
	if found {
		return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return nil
}

// appArmor refuses profiles where the machine has no AppArmor, in kubelet's words,
// and everywhere the runtime's own profile: nodes have none. Profiles that somebody
// has loaded on the machine are the container runtime's affair.
func appArmor(in Input) *Refusal {
	kinds := appArmorProfiles(in.Pod)
	switch {
	case len(kinds) == 0:
		return nil
	case !in.AppArmor:
		return refuse(reasonAppArmor, "Cannot enforce AppArmor: AppArmor is not enabled on the host")
	case kinds[v1.AppArmorProfileTypeRuntimeDefault]:
		return refuse(reasonAppArmor, "Cannot enforce AppArmor: this node has no profile of its own for the type RuntimeDefault; load one on the machine and name it with the type Localhost")
	}
	return nil
}

// appArmorProfiles are the types of the profiles that have to be enforced.
func appArmorProfiles(pod *v1.Pod) map[v1.AppArmorProfileType]bool {
	kinds := map[v1.AppArmorProfileType]bool{}
	add := func(p *v1.AppArmorProfile) {
		if p != nil && p.Type != v1.AppArmorProfileTypeUnconfined {
			kinds[p.Type] = true
		}
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		add(sc.AppArmorProfile)
	}
	eachContainer(pod, func(c *v1.Container) {
		if c.SecurityContext != nil {
			add(c.SecurityContext.AppArmorProfile)
		}
	})
	for key, profile := range pod.Annotations {
		switch {
		case !strings.HasPrefix(key, v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix), profile == v1.DeprecatedAppArmorBetaProfileNameUnconfined:
		case strings.HasPrefix(profile, v1.DeprecatedAppArmorBetaProfileNamePrefix):
			kinds[v1.AppArmorProfileTypeLocalhost] = true
		default:
			kinds[v1.AppArmorProfileTypeRuntimeDefault] = true
		}
	}
	return kinds
}

// eachContainer calls fn for every container of the Pod, of whatever kind.
func eachContainer(pod *v1.Pod, fn func(*v1.Container)) {
	for i := range pod.Spec.InitContainers {
		fn(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		fn(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.EphemeralContainers {
		c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		fn(&c)
	}
}

// resourceClaims refuses devices that a driver would have to prepare, on a node that
// takes none.
func resourceClaims(in Input) *Refusal {
	if len(in.Pod.Spec.ResourceClaims) == 0 || in.Claims {
		return nil
	}
	return refuse(reasonResourceClaims, "This node takes no drivers for dynamic resources, which the pod asks for with spec.resourceClaims; remove the field")
}

// userNamespaces refuses a Pod that wants one of a node that makes none. That of
// a RuntimeClass may make them, or not, whatever the default handler does: the
// runtime tells.
func userNamespaces(in Input) *Refusal {
	if !spec.OwnUsers(in.Pod) || in.Pod.Spec.RuntimeClassName != nil {
		return nil
	}
	for _, h := range in.Node.Status.RuntimeHandlers {
		if h.Name == "" && h.Features != nil && h.Features.UserNamespaces != nil && *h.Features.UserNamespaces {
			return nil
		}
	}
	return refuse(reasonUserNamespaces, "can't set `spec.hostUsers: false`, runtime does not support user namespaces: remove the field, or have the machine allow them (sysctl user.max_user_namespaces)")
}
