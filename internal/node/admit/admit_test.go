package admit

import (
	"context"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubernetes/pkg/kubelet/sysctl"
)

func testNode(change ...func(*v1.Node)) *v1.Node {
	n := &v1.Node{}
	n.Name, n.Labels = "node-1", map[string]string{"disk": "ssd"}
	n.Status.Allocatable = v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("1Gi"),
		v1.ResourceEphemeralStorage: resource.MustParse("1Gi"), v1.ResourcePods: resource.MustParse("3"),
		"example.com/gpu": resource.MustParse("1"),
	}
	for _, fn := range change {
		fn(n)
	}
	return n
}

func testPod(change ...func(*v1.Pod)) *v1.Pod {
	p := &v1.Pod{}
	p.Name, p.Namespace = "web", "default"
	p.Spec.NodeName = "node-1"
	p.Spec.Containers = []v1.Container{{Name: "main"}}
	for _, fn := range change {
		fn(p)
	}
	return p
}

func asks(name v1.ResourceName, quantity string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Resources.Requests = v1.ResourceList{name: resource.MustParse(quantity)}
	}
}

func sets(names ...string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.SecurityContext = &v1.PodSecurityContext{}
		for _, n := range names {
			p.Spec.SecurityContext.Sysctls = append(p.Spec.SecurityContext.Sysctls, v1.Sysctl{Name: n, Value: "1"})
		}
	}
}

func profile(t v1.AppArmorProfileType) *v1.SecurityContext {
	return &v1.SecurityContext{AppArmorProfile: &v1.AppArmorProfile{Type: t}}
}

func condition(t v1.NodeConditionType) func(*v1.Node) {
	return func(n *v1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, v1.NodeCondition{Type: t, Status: v1.ConditionTrue})
	}
}

func TestCheck(t *testing.T) {
	allowed, err := NewSysctls(sysctl.SafeSysctlAllowlist(context.Background()), []string{"net.core.somaxconn", "kernel.msg*"})
	if err != nil {
		t.Fatal(err)
	}
	no, yes, strict := false, true, v1.SupplementalGroupsPolicyStrict
	critical, always := int32(2_000_000_000), v1.ContainerRestartPolicyAlways
	windows := &v1.PodOS{Name: v1.Windows}
	const noAppArmor = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
	const ports = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
	for _, c := range []struct {
		name            string
		pod             *v1.Pod
		node            *v1.Node
		others          []*v1.Pod
		reason, message string
	}{
		{name: "plain", pod: testPod()},
		{name: "selector", pod: testPod(func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} })},
		{name: "other selector", pod: testPod(func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "tape"} }),
			reason: "NodeAffinity", message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
		{name: "other node", pod: testPod(func(p *v1.Pod) { p.Spec.NodeName = "node-2" }), reason: "NodeName", message: "Predicate NodeName failed: node(s) didn't match the requested node name"},
		{name: "NoExecute taint", pod: testPod(), node: testNode(func(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: "k", Effect: v1.TaintEffectNoExecute}} }),
			reason: "TaintToleration", message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"},
		{name: "NoSchedule taint", pod: testPod(), node: testNode(func(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: "k", Effect: v1.TaintEffectNoSchedule}} })},
		{name: "tolerated taint", pod: testPod(func(p *v1.Pod) { p.Spec.Tolerations = []v1.Toleration{{Operator: v1.TolerationOpExists}} }),
			node: testNode(func(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: "k", Effect: v1.TaintEffectNoExecute}} })},

		{name: "CPU fits", pod: testPod(asks(v1.ResourceCPU, "500m")), others: []*v1.Pod{testPod(asks(v1.ResourceCPU, "1500m"))}},
		{name: "CPU", pod: testPod(asks(v1.ResourceCPU, "501m")), others: []*v1.Pod{testPod(asks(v1.ResourceCPU, "1500m"))},
			reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"},
		{name: "memory", pod: testPod(asks(v1.ResourceMemory, "2Gi")), reason: "OutOfmemory", message: "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824"},
		{name: "disk", pod: testPod(asks(v1.ResourceEphemeralStorage, "2Gi")), reason: "OutOfephemeral-storage", message: "Node didn't have enough resource: ephemeral-storage, requested: 2147483648, used: 0, capacity: 1073741824"},
		{name: "extended", pod: testPod(asks("example.com/gpu", "2")), reason: "OutOfexample.com/gpu", message: "Node didn't have enough resource: example.com/gpu, requested: 2, used: 0, capacity: 1"},
		{name: "the cluster's", pod: testPod(asks("example.com/license", "2"))},
		{name: "pods", pod: testPod(), others: []*v1.Pod{testPod(), testPod(), testPod()}, reason: "OutOfpods", message: "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"},

		{name: "same port", pod: testPod(port("", "", 80)), others: []*v1.Pod{testPod(port("", v1.ProtocolTCP, 80))}, reason: "NodePorts", message: ports},
		{name: "other protocol", pod: testPod(port("", v1.ProtocolUDP, 80)), others: []*v1.Pod{testPod(port("", v1.ProtocolTCP, 80))}},
		{name: "other address", pod: testPod(port("127.0.0.1", "", 80)), others: []*v1.Pod{testPod(port("127.0.0.2", "", 80))}},
		{name: "all addresses", pod: testPod(port("127.0.0.1", "", 80)), others: []*v1.Pod{testPod(port("0.0.0.0", "", 80))}, reason: "NodePorts", message: ports},
		{name: "all addresses, the other way", pod: testPod(port("", "", 80)), others: []*v1.Pod{testPod(port("127.0.0.1", "", 80))}, reason: "NodePorts", message: ports},
		{name: "sidecar's port", pod: testPod(port("", "", 80)), reason: "NodePorts", message: ports, others: []*v1.Pod{testPod(func(p *v1.Pod) {
			p.Spec.InitContainers = []v1.Container{{RestartPolicy: &always, Ports: []v1.ContainerPort{{HostPort: 80}}}}
		})}},
		{name: "init container's port", pod: testPod(port("", "", 80)), others: []*v1.Pod{testPod(func(p *v1.Pod) {
			p.Spec.InitContainers = []v1.Container{{Ports: []v1.ContainerPort{{HostPort: 80}}}}
		})}},

		{name: "disk pressure", pod: testPod(asks(v1.ResourceCPU, "1")), node: testNode(condition(v1.NodeDiskPressure)), reason: "Evicted", message: "The node had condition: [DiskPressure]. "},
		{name: "critical under pressure", pod: testPod(func(p *v1.Pod) { p.Spec.Priority = &critical }), node: testNode(condition(v1.NodeDiskPressure))},
		{name: "memory pressure", pod: testPod(), node: testNode(condition(v1.NodeMemoryPressure)), reason: "Evicted", message: "The node had condition: [MemoryPressure]. "},
		{name: "memory pressure, burstable", pod: testPod(asks(v1.ResourceCPU, "1")), node: testNode(condition(v1.NodeMemoryPressure))},

		{name: "safe sysctl", pod: testPod(sets("net.ipv4.ip_unprivileged_port_start", "kernel/shm_rmid_forced"))},
		{name: "unsafe sysctl", pod: testPod(sets("net.ipv4.ip_forward")), reason: "SysctlForbidden", message: `forbidden sysctl: "net.ipv4.ip_forward" not allowlisted`},
		{name: "the machine's sysctl", pod: testPod(sets("vm.swappiness")), reason: "SysctlForbidden", message: `forbidden sysctl: "vm.swappiness" not allowlisted`},
		{name: "a path out", pod: testPod(sets("net/ipv4/../../kernel/core_pattern")), reason: "SysctlForbidden", message: `forbidden sysctl: "net.ipv4.//.//.kernel.core_pattern" not allowlisted`},
		{name: "allowed sysctls", pod: testPod(sets("net.core.somaxconn", "kernel.msgmax"))},
		{name: "sysctl of the node's network", pod: testPod(sets("net.core.somaxconn"), func(p *v1.Pod) { p.Spec.HostNetwork = true }),
			reason: "SysctlForbidden", message: `forbidden sysctl: "net.core.somaxconn" not allowed with host Net enabled`},
		{name: "sysctl of the node's IPC", pod: testPod(sets("kernel.shm_rmid_forced"), func(p *v1.Pod) { p.Spec.HostIPC = true }),
			reason: "SysctlForbidden", message: `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled`},

		{name: "OS", pod: testPod(func(p *v1.Pod) { p.Spec.OS = windows }), reason: "PodOSNotSupported", message: "Failed to admit pod as the OS field doesn't match node OS"},
		{name: "OS label", pod: testPod(func(p *v1.Pod) { p.Labels = map[string]string{v1.LabelOSStable: "windows"} }),
			reason: "PodOSSelectorNodeLabelDoesNotMatch", message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
		{name: "strict groups", pod: testPod(func(p *v1.Pod) { p.Spec.SecurityContext = &v1.PodSecurityContext{SupplementalGroupsPolicy: &strict} }),
			reason: "SupplementalGroupsPolicyNotSupported", message: "SupplementalGroupsPolicy=Strict is not supported in this node"},
		{name: "strict groups, supported", pod: testPod(func(p *v1.Pod) { p.Spec.SecurityContext = &v1.PodSecurityContext{SupplementalGroupsPolicy: &strict} }),
			node: testNode(func(n *v1.Node) { n.Status.Features = &v1.NodeFeatures{SupplementalGroupsPolicy: &yes} })},

		{name: "AppArmor", pod: testPod(func(p *v1.Pod) { p.Spec.Containers[0].SecurityContext = profile(v1.AppArmorProfileTypeRuntimeDefault) }),
			reason: "AppArmor", message: noAppArmor},
		{name: "AppArmor of the pod", pod: testPod(func(p *v1.Pod) {
			p.Spec.SecurityContext = &v1.PodSecurityContext{AppArmorProfile: &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeLocalhost}}
		}), reason: "AppArmor", message: noAppArmor},
		{name: "AppArmor by annotation", pod: testPod(func(p *v1.Pod) {
			p.Annotations = map[string]string{v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "main": "runtime/default"}
		}), reason: "AppArmor", message: noAppArmor},
		{name: "AppArmor unconfined", pod: testPod(func(p *v1.Pod) { p.Spec.Containers[0].SecurityContext = profile(v1.AppArmorProfileTypeUnconfined) })},

		{name: "pod resources", pod: testPod(func(p *v1.Pod) {
			p.Spec.Resources = &v1.ResourceRequirements{Limits: v1.ResourceList{v1.ResourceCPU: resource.MustParse("1")}}
		})},
		{name: "too much for the pod", pod: testPod(func(p *v1.Pod) {
			p.Spec.Resources = &v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("3")}}
		}), reason: "OutOfcpu", message: "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000"},
		{name: "restart of all containers", pod: testPod(func(p *v1.Pod) {
			p.Spec.Containers[0].RestartPolicyRules = []v1.ContainerRestartRule{{Action: v1.ContainerRestartRuleActionRestartAllContainers}}
		})},
		{name: "resource claim", pod: testPod(func(p *v1.Pod) { p.Spec.ResourceClaims = []v1.PodResourceClaim{{Name: "gpu"}} }), reason: "ResourceClaimsNotSupported",
			message: "This node takes no drivers for dynamic resources, which the pod asks for with spec.resourceClaims; remove the field"},
		{name: "user namespace", pod: testPod(func(p *v1.Pod) { p.Spec.HostUsers = &no }), reason: "UserNamespacesNotSupported",
			message: "can't set `spec.hostUsers: false`, runtime does not support user namespaces: remove the field, or have the machine allow them (sysctl user.max_user_namespaces)"},
		{name: "user namespace, supported", pod: testPod(func(p *v1.Pod) { p.Spec.HostUsers = &no }), node: testNode(func(n *v1.Node) {
			n.Status.RuntimeHandlers = []v1.NodeRuntimeHandler{{Features: &v1.NodeRuntimeHandlerFeatures{UserNamespaces: &yes}}}
		})},
		{name: "user namespace of another runtime", pod: testPod(func(p *v1.Pod) { p.Spec.HostUsers, p.Spec.RuntimeClassName = &no, new(string) })},
		{name: "the node's users", pod: testPod(func(p *v1.Pod) { p.Spec.HostUsers = &yes })},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := c.node
			if node == nil {
				node = testNode()
			}
			r := Check(Input{Pod: c.pod, Node: node, Others: c.others, Options: Options{Sysctls: allowed}})
			if r == nil {
				r = &Refusal{}
			}
			if r.Reason != c.reason || r.Message != c.message {
				t.Errorf("refused as %q: %q\nwant %q: %q", r.Reason, r.Message, c.reason, c.message)
			}
		})
	}
}

func TestNoSysctlWithoutAList(t *testing.T) {
	if r := Check(Input{Pod: testPod(sets("kernel.shm_rmid_forced")), Node: testNode()}); r == nil || r.Reason != "SysctlForbidden" {
		t.Errorf("refused as %+v", r)
	}
}

func TestAllowedSysctlsMustBeAPodsOwn(t *testing.T) {
	for _, name := range []string{"vm.swappiness", "kernel.core_pattern", "fs.file-max", "*", ""} {
		if _, err := NewSysctls(nil, []string{name}); err == nil {
			t.Errorf("%q may be set by Pods", name)
		}
	}
}

func TestNothingOptionalIsNeeded(t *testing.T) {
	Check(Input{Pod: &v1.Pod{}, Node: &v1.Node{}})
	Check(Input{Pod: &v1.Pod{Spec: v1.PodSpec{
		SecurityContext: &v1.PodSecurityContext{AppArmorProfile: &v1.AppArmorProfile{}},
		Containers:      []v1.Container{{SecurityContext: &v1.SecurityContext{}}},
		Resources:       &v1.ResourceRequirements{},
	}}, Node: &v1.Node{}, Others: []*v1.Pod{{}}})
}

// port has a Pod ask for a port of the node.
func port(ip string, protocol v1.Protocol, number int32) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = []v1.ContainerPort{{HostPort: number, HostIP: ip, Protocol: protocol}}
	}
}

// A port at which the node itself answers is not taken from it.
func TestOwnPorts(t *testing.T) {
	own := Options{OwnPorts: []HostPort{{Protocol: v1.ProtocolTCP, Port: 10250}, {Protocol: v1.ProtocolUDP, Port: 53}}}
	check := func(p *v1.Pod) *Refusal { return Check(Input{Pod: p, Node: testNode(), Options: own}) }
	for _, p := range []*v1.Pod{testPod(port("", "", 10250)), testPod(port("172.30.0.11", v1.ProtocolTCP, 10250)), testPod(port("", v1.ProtocolUDP, 53))} {
		if r := check(p); r == nil || r.Reason != "NodePorts" || !strings.Contains(r.Message, "the node itself answers") {
			t.Errorf("hostPorts %v: %+v", HostPorts(p), r)
		}
	}
	inside := testPod(port("", "", 10250))
	inside.Spec.HostNetwork = true
	for _, p := range []*v1.Pod{testPod(port("", v1.ProtocolUDP, 10250)), testPod(port("127.0.0.1", "", 10250)), testPod(port("", "", 8080)), inside} {
		if r := check(p); r != nil {
			t.Errorf("hostPorts %v, hostNetwork %t: %+v", HostPorts(p), p.Spec.HostNetwork, r)
		}
	}
}

// A machine with AppArmor enforces the profiles that are loaded on it.
func TestAppArmorOfTheMachine(t *testing.T) {
	for kind, refused := range map[v1.AppArmorProfileType]bool{
		v1.AppArmorProfileTypeLocalhost: false, v1.AppArmorProfileTypeUnconfined: false, v1.AppArmorProfileTypeRuntimeDefault: true,
	} {
		pod := testPod(func(p *v1.Pod) { p.Spec.Containers[0].SecurityContext = profile(kind) })
		r := Check(Input{Pod: pod, Node: testNode(), Options: Options{AppArmor: true}})
		if (r != nil) != refused || r != nil && r.Reason != "AppArmor" {
			t.Errorf("%s: %+v", kind, r)
		}
	}
	for profile, refused := range map[string]bool{"localhost/mine": false, "unconfined": false, "runtime/default": true} {
		pod := testPod(func(p *v1.Pod) {
			p.Annotations = map[string]string{v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "main": profile}
		})
		if r := Check(Input{Pod: pod, Node: testNode(), Options: Options{AppArmor: true}}); (r != nil) != refused {
			t.Errorf("annotation %s: %+v", profile, r)
		}
	}
}
