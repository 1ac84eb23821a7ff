package spec

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubernetes/pkg/securitycontext"
)

// ImageUser is the user that an image wants to run as: a number, or a name that
// only the image's own /etc/passwd can resolve.
type ImageUser struct {
	UID  *int64
	Name string
}

// security is the effective security context of a container.
func security(pod *v1.Pod, c *v1.Container, user ImageUser, users *runtimeapi.UserNamespace, target string) (*runtimeapi.LinuxContainerSecurityContext, error) {
	sc := securitycontext.DetermineEffectiveSecurityContext(pod, c)
	if err := checkNonRoot(sc, pod, c, user); err != nil {
		return nil, err
	}
	out := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions: namespaces(pod, users, target),
		NoNewPrivs:       securitycontext.AddNoNewPrivileges(sc),
		MaskedPaths:      securitycontext.ConvertToRuntimeMaskedPaths(sc.ProcMount),
		ReadonlyPaths:    securitycontext.ConvertToRuntimeReadonlyPaths(sc.ProcMount),
		Privileged:       isTrue(sc.Privileged),
		ReadonlyRootfs:   isTrue(sc.ReadOnlyRootFilesystem),
		SelinuxOptions:   seLinux(sc.SELinuxOptions),
		Apparmor:         appArmor(pod, c),
	}
	if caps := sc.Capabilities; caps != nil {
		out.Capabilities = &runtimeapi.Capability{AddCapabilities: names(caps.Add), DropCapabilities: names(caps.Drop)}
	}
	switch {
	case sc.RunAsUser != nil:
		out.RunAsUser = &runtimeapi.Int64Value{Value: *sc.RunAsUser}
	case user.UID != nil:
		out.RunAsUser = &runtimeapi.Int64Value{Value: *user.UID}
	case user.Name != "":
		out.RunAsUsername = user.Name
	default:
		// An image that names no user runs as root. The CRI wants a user wherever
		// there is a group.
		out.RunAsUser = &runtimeapi.Int64Value{}
	}
	if sc.RunAsGroup != nil {
		out.RunAsGroup = &runtimeapi.Int64Value{Value: *sc.RunAsGroup}
	}
	if p := pod.Spec.SecurityContext; p != nil {
		out.SupplementalGroups = podGroups(p)
		if p.SupplementalGroupsPolicy != nil {
			out.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy(runtimeapi.SupplementalGroupsPolicy_value[string(*p.SupplementalGroupsPolicy)])
		}
	}
	var err error
	out.Seccomp, err = seccomp(pod, c)
	return out, err
}

// checkNonRoot refuses a container that must not run as root but would, or for
// which that cannot be told.
func checkNonRoot(sc *v1.SecurityContext, pod *v1.Pod, c *v1.Container, user ImageUser) error {
	if !isTrue(sc.RunAsNonRoot) {
		return nil
	}
	at := fmt.Sprintf("(pod: %q, container: %s)", podName(pod), c.Name)
	switch {
	case sc.RunAsUser != nil && *sc.RunAsUser == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", at)
	case sc.RunAsUser != nil:
		return nil
	case user.UID != nil && *user.UID == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", at)
	case user.UID == nil && user.Name != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", user.Name, at)
	}
	return nil
}

func podName(pod *v1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

// seccomp takes the container's profile before the Pod's.
func seccomp(pod *v1.Pod, c *v1.Container) (*runtimeapi.SecurityProfile, error) {
	var p *v1.SeccompProfile
	if sc := pod.Spec.SecurityContext; sc != nil {
		p = sc.SeccompProfile
	}
	if sc := c.SecurityContext; sc != nil && sc.SeccompProfile != nil {
		p = sc.SeccompProfile
	}
	switch {
	case p == nil, p.Type == v1.SeccompProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	case p.Type == v1.SeccompProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case p.Type == v1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *p.LocalhostProfile}, nil
	}
	return nil, fmt.Errorf("container %s: seccompProfile of type %s names no localhostProfile", c.Name, p.Type)
}

func names(caps []v1.Capability) []string {
	var out []string
	for _, c := range caps {
		out = append(out, string(c))
	}
	return out
}
