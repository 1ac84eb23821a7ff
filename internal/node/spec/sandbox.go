package spec

import (
	"encoding/json"
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// SandboxInput is what a sandbox's configuration depends on beside its Pod.
type SandboxInput struct {
	Pod           *v1.Pod
	Attempt       uint32
	LogDir        string
	CgroupParent  string
	ClusterDomain string
	DNS           *runtimeapi.DNSConfig
	// Users is the Pod's user namespace; nil is the node's.
	Users *runtimeapi.UserNamespace
	// HugePages are the sizes of huge pages that the machine has, in bytes.
	HugePages []int64
}

// Sandbox is the configuration of a Pod's sandbox.
func Sandbox(in SandboxInput) (*runtimeapi.PodSandboxConfig, error) {
	pod := in.Pod
	c := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: in.Attempt,
		},
		LogDirectory: in.LogDir,
		DnsConfig:    in.DNS,
		Labels:       podLabels(pod),
		Annotations:  sandboxAnnotations(pod),
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    in.CgroupParent,
			SecurityContext: sandboxSecurity(pod, in.Users),
			Sysctls:         map[string]string{},
			Overhead:        podOverhead(pod),
			Resources:       podResources(pod),
		},
	}
	c.Linux.Resources.HugepageLimits, c.Linux.Overhead.HugepageLimits = podHugePages(pod, in.HugePages)
	if !pod.Spec.HostNetwork { // such a Pod has the node's own name
		hostname, err := kernelHostname(pod, in.ClusterDomain)
		if err != nil {
			return nil, err
		}
		c.Hostname = hostname
	}
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			c.PortMappings = append(c.PortMappings, portMapping(p))
		}
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		for _, s := range sc.Sysctls {
			// Both kernel.shm_rmid_forced and kernel/shm_rmid_forced are accepted.
			c.Linux.Sysctls[normalSysctl(s.Name)] = s.Value
		}
	}
	return c, nil
}

// sandboxAnnotations hands the Pod's annotations on, as runtimes expect.
func sandboxAnnotations(pod *v1.Pod) map[string]string {
	a := make(map[string]string, len(pod.Annotations)+2)
	for k, v := range pod.Annotations {
		a[k] = v
	}
	if text, err := json.Marshal(PodLimitsOf(pod)); err == nil { // numbers always encode
		a[annotationPodLimits] = string(text)
	}
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		a[AnnotationGracePeriod] = fmt.Sprint(*g)
	}
	return a
}

func portMapping(p v1.ContainerPort) *runtimeapi.PortMapping {
	m := &runtimeapi.PortMapping{ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP}
	switch p.Protocol {
	case v1.ProtocolUDP:
		m.Protocol = runtimeapi.Protocol_UDP
	case v1.ProtocolSCTP:
		m.Protocol = runtimeapi.Protocol_SCTP
	default:
		m.Protocol = runtimeapi.Protocol_TCP
	}
	return m
}

func normalSysctl(name string) string {
	// Only the first separator tells the style: net/ipv4/conf/eno2.100/rp_filter
	// has a dot inside a name.
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '.' {
		return name
	}
	return strings.NewReplacer("/", ".", ".", "/").Replace(name)
}

func sandboxSecurity(pod *v1.Pod, users *runtimeapi.UserNamespace) *runtimeapi.LinuxSandboxSecurityContext {
	sc := &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: namespaces(pod, users, ""),
		Privileged:       hasPrivileged(pod),
		Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
	}
	p := pod.Spec.SecurityContext
	if p == nil {
		return sc
	}
	if p.RunAsUser != nil {
		sc.RunAsUser = &runtimeapi.Int64Value{Value: *p.RunAsUser}
	}
	if p.RunAsGroup != nil {
		sc.RunAsGroup = &runtimeapi.Int64Value{Value: *p.RunAsGroup}
	}
	sc.SupplementalGroups = podGroups(p)
	return sc
}

// namespaces are the Pod's own ones unless it asks for the node's. target names
// the container whose processes an ephemeral container wants to see.
func namespaces(pod *v1.Pod, users *runtimeapi.UserNamespace, target string) *runtimeapi.NamespaceOption {
	o := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER, UsernsOptions: users}
	switch {
	case pod.Spec.HostPID:
		o.Pid = runtimeapi.NamespaceMode_NODE
	case target != "":
		o.Pid, o.TargetId = runtimeapi.NamespaceMode_TARGET, target
	case isTrue(pod.Spec.ShareProcessNamespace):
		o.Pid = runtimeapi.NamespaceMode_POD
	}
	if pod.Spec.HostNetwork {
		o.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		o.Ipc = runtimeapi.NamespaceMode_NODE
	}
	return o
}

// OwnUsers tells whether the Pod wants a user namespace (KEP-127).
func OwnUsers(pod *v1.Pod) bool { return pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers }

// UserNamespace has count users and groups, 0 being the node's first.
func UserNamespace(first, count uint32) *runtimeapi.UserNamespace {
	mapping := func() []*runtimeapi.IDMapping { return []*runtimeapi.IDMapping{{HostId: first, Length: count}} }
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: mapping(), Gids: mapping()}
}

func hasPrivileged(pod *v1.Pod) bool {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if c.SecurityContext != nil && isTrue(c.SecurityContext.Privileged) {
				return true
			}
		}
	}
	return false
}

func podGroups(sc *v1.PodSecurityContext) []int64 {
	var groups []int64
	if sc.FSGroup != nil {
		groups = append(groups, *sc.FSGroup)
	}
	return append(groups, sc.SupplementalGroups...)
}
