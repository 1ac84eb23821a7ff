package oci

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// What CRI can ask for is given or refused; nothing is left out without a word.
// TestEveryFieldIsHonouredOrRefused walks over the fields.

// checkSandbox refuses what a sandbox can't be given. What the security context
// says about the sandbox's own process (its user, groups, root file system and
// seccomp profile) has nothing to apply to: there is no such process.
func (r *Runtime) checkSandbox(config *runtimeapi.PodSandboxConfig) error {
	uid, linux, sc := config.GetMetadata().GetUid(), config.GetLinux(), config.GetLinux().GetSecurityContext()
	switch {
	case uid == "":
		return errors.New("metadata.uid is required")
	case strings.ContainsAny(uid, "/\x00"):
		return fmt.Errorf("metadata.uid %q can't be the name of a cgroup", uid)
	case config.GetWindows() != nil:
		return fmt.Errorf("windows: %w", ErrUnsupported)
	case linux.GetCgroupParent() != "" && filepath.Clean(linux.GetCgroupParent()) != "/"+r.podCgroup(uid).Path:
		return fmt.Errorf("cgroup_parent %s: %w: this Pod's cgroup is /%s", linux.GetCgroupParent(), ErrUnsupported, r.podCgroup(uid).Path)
	case sc.GetSeccompProfilePath() != "": //nolint:staticcheck // to refuse it
		return fmt.Errorf("seccomp_profile_path: %w: use seccomp", ErrUnsupported)
	}
	if _, _, err := podSysctls(config); err != nil {
		return err
	}
	for name, res := range map[string]*runtimeapi.LinuxContainerResources{"resources": linux.GetResources(), "overhead": linux.GetOverhead()} {
		if err := checkPodResources(res); err != nil {
			return fmt.Errorf("%s of the Pod: %w", name, err)
		}
	}
	return errors.Join(checkSandboxNamespaces(sc.GetNamespaceOptions()), r.checkSELinux(sc.GetSelinuxOptions()), checkAppArmor(sc.GetApparmor()))
}

func checkSandboxNamespaces(opts *runtimeapi.NamespaceOption) error {
	for name, mode := range map[string]runtimeapi.NamespaceMode{"network": opts.GetNetwork(), "ipc": opts.GetIpc()} {
		if mode != runtimeapi.NamespaceMode_POD && mode != runtimeapi.NamespaceMode_NODE {
			return fmt.Errorf("%s namespace of mode %v: %w: a Pod has its own or the node's", name, mode, ErrUnsupported)
		}
	}
	if opts.GetPid() == runtimeapi.NamespaceMode_TARGET || opts.GetTargetId() != "" {
		return fmt.Errorf("process namespace of another container: %w for a whole Pod", ErrUnsupported)
	}
	return checkUsers(opts)
}

// checkSELinux refuses labels where the kernel would heed them: none are set
// here. A kernel without SELinux has nothing to label, as Kubernetes says.
func (r *Runtime) checkSELinux(o *runtimeapi.SELinuxOption) error {
	if !r.selinux || o.GetUser() == "" && o.GetRole() == "" && o.GetType() == "" && o.GetLevel() == "" {
		return nil
	}
	return fmt.Errorf("SELinux labels (seLinuxOptions): %w: remove them from the Pod's securityContext", ErrUnsupported)
}

// checkAppArmor accepts profiles that an administrator has loaded, where the
// kernel has AppArmor. The first text is the kubelet's.
func checkAppArmor(p *runtimeapi.SecurityProfile) error {
	switch {
	case p == nil || p.GetProfileType() == runtimeapi.SecurityProfile_Unconfined:
		return nil
	case !host.AppArmor():
		return fmt.Errorf("cannot enforce AppArmor: AppArmor is not enabled on the host: %w", ErrUnsupported)
	case p.GetProfileType() == runtimeapi.SecurityProfile_Localhost && p.GetLocalhostRef() != "":
		return nil
	case p.GetProfileType() == runtimeapi.SecurityProfile_Localhost:
		return errors.New("AppArmor profile of type Localhost: localhostProfile is required")
	}
	return fmt.Errorf("AppArmor profile of type %v: %w: load a profile on the node and name it with type Localhost", p.GetProfileType(), ErrUnsupported)
}

// checkContainer refuses what a container of the sandbox can't be given.
func (r *Runtime) checkContainer(sb *sandbox, config *runtimeapi.ContainerConfig) error {
	sc := config.GetLinux().GetSecurityContext()
	switch {
	case config.GetWindows() != nil:
		return fmt.Errorf("windows: %w", ErrUnsupported)
	case config.GetLogPath() != "" && !filepath.IsLocal(config.GetLogPath()):
		return fmt.Errorf("log_path %q leads out of the Pod's log directory", config.GetLogPath())
	case sc.GetRunAsGroup() != nil && sc.GetRunAsUser() == nil && sc.GetRunAsUsername() == "":
		return errors.New("run_as_group is given without run_as_user or run_as_username: give one of them too")
	case sc.GetSeccompProfilePath() != "": //nolint:staticcheck // to refuse it
		return fmt.Errorf("seccomp_profile_path: %w: use seccomp", ErrUnsupported)
	case sc.GetApparmorProfile() != "" && sc.GetApparmor() == nil: //nolint:staticcheck // to refuse it
		return fmt.Errorf("apparmor_profile: %w: use apparmor", ErrUnsupported)
	case !sc.GetPrivileged() && sb.users() == nil && (unmasked(sc.GetMaskedPaths()) || unmasked(sc.GetReadonlyPaths())):
		return fmt.Errorf("an unmasked /proc (procMount: Unmasked): %w without a user namespace", ErrUnsupported)
	}
	for _, m := range config.GetMounts() {
		if err := errors.Join(r.checkMount(m), checkMountedFor(sb.users(), m)); err != nil {
			return fmt.Errorf("mount %s: %w", m.GetContainerPath(), err)
		}
		if p := r.handlers[sb.state.Handler]; m.GetRecursiveReadOnly() && !p.recursiveReadOnly {
			return fmt.Errorf("mount %s: recursive_read_only: %w: %s does not have it", m.GetContainerPath(), ErrUnsupported, p.path)
		}
	}
	return errors.Join(
		r.checkContainerNamespaces(sb, sc.GetNamespaceOptions()),
		r.checkSELinux(sc.GetSelinuxOptions()), checkAppArmor(sc.GetApparmor()),
	)
}

// unmasked tells a list that says "nothing" from one that was left out.
func unmasked(paths []string) bool { return paths != nil && len(paths) == 0 }

func (r *Runtime) checkContainerNamespaces(sb *sandbox, opts *runtimeapi.NamespaceOption) error {
	if opts == nil {
		return nil
	}
	if asked := usersOf(opts); !sameUsers(asked, sb.users()) {
		return fmt.Errorf("user namespace %v: %w: the Pod's is %v", asked, ErrUnsupported, sb.users())
	}
	pods := sb.options()
	for name, modes := range map[string][2]runtimeapi.NamespaceMode{
		"network": {opts.GetNetwork(), pods.GetNetwork()}, "ipc": {opts.GetIpc(), pods.GetIpc()},
	} {
		if modes[0] != modes[1] {
			return fmt.Errorf("%s namespace of mode %v: %w: the Pod's is of mode %v", name, modes[0], ErrUnsupported, modes[1])
		}
	}
	switch pid := opts.GetPid(); {
	case pid == runtimeapi.NamespaceMode_TARGET:
		target, err := r.container(opts.GetTargetId())
		if err != nil {
			return fmt.Errorf("target of the process namespace: %w", err)
		}
		if target.state.SandboxID != sb.state.ID {
			return fmt.Errorf("target of the process namespace: container %s is another Pod's", opts.GetTargetId())
		}
	case opts.GetTargetId() != "":
		return fmt.Errorf("target_id with a process namespace of mode %v: %w", pid, ErrUnsupported)
	case pid == runtimeapi.NamespaceMode_NODE && pods.GetPid() != runtimeapi.NamespaceMode_NODE,
		pid == runtimeapi.NamespaceMode_POD && pods != nil && pods.GetPid() != runtimeapi.NamespaceMode_POD:
		return fmt.Errorf("process namespace of mode %v: %w: the Pod's is of mode %v", pid, ErrUnsupported, pods.GetPid())
	}
	return nil
}

func (r *Runtime) checkMount(m *runtimeapi.Mount) error {
	image := m.GetImage().GetImage() != ""
	switch {
	case filepath.Clean("/"+m.GetContainerPath()) == "/":
		return errors.New("a volume can't take the place of the container's root")
	case m.GetSelinuxRelabel() && r.selinux: // else there is nothing to label
		return fmt.Errorf("SELinux relabelling: %w", ErrUnsupported)
	case image && m.GetHostPath() != "":
		return errors.New("image and host_path exclude each other")
	case !image && m.GetImageSubPath() != "":
		return errors.New("image_sub_path without an image")
	case !image && m.GetHostPath() == "":
		return errors.New("neither host_path nor an image is given")
	case m.GetRecursiveReadOnly() && !m.GetReadonly():
		return errors.New("recursive_read_only without readonly")
	case m.GetRecursiveReadOnly() && m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return errors.New("recursive_read_only with mount propagation")
	case image && m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return fmt.Errorf("mount propagation of an image: %w", ErrUnsupported)
	}
	return nil
}

// checkPodResources refuses limits that a Pod as a whole has none of.
func checkPodResources(res *runtimeapi.LinuxContainerResources) error {
	switch {
	case res.GetOomScoreAdj() != 0:
		return fmt.Errorf("oom_score_adj: %w", ErrUnsupported)
	case res.GetCpusetCpus() != "" || res.GetCpusetMems() != "":
		return fmt.Errorf("cpusets: %w", ErrUnsupported)
	case len(res.GetUnified()) > 0:
		return fmt.Errorf("unified: %w", ErrUnsupported)
	case res.GetMemorySwapLimitInBytes() != 0:
		return fmt.Errorf("a limit of swap: %w", ErrUnsupported)
	}
	return nil
}
