package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/image"
)

// A Pod with hostUsers: false (KEP-127) has a user namespace, in which its users
// are other ones than on the node. The namespace owns the Pod's other namespaces.
// What containers mount is mounted for them before the OCI runtime starts, with
// the owners mapped: so any OCI runtime will do, and on the disk a volume's files
// belong to the users that they have in the container.

// users is the sandbox's user namespace; nil is the node's.
func (sb *sandbox) users() *runtimeapi.UserNamespace { return usersOf(sb.options()) }

// usersOf is the user namespace that is asked for; nil is the node's. CRI's zero
// value of a mode that is given means the Pod's own one.
func usersOf(opts *runtimeapi.NamespaceOption) *runtimeapi.UserNamespace {
	if u := opts.GetUsernsOptions(); u != nil && u.GetMode() != runtimeapi.NamespaceMode_NODE {
		return u
	}
	return nil
}

// rootOf are the node's user and group that root is in the namespace.
func rootOf(u *runtimeapi.UserNamespace) (uid, gid int) {
	return hostID(u.GetUids(), 0), hostID(u.GetGids(), 0)
}

// hostID is the node's number of a user of the namespace, -1 if there is no such
// user.
func hostID(mappings []*runtimeapi.IDMapping, id uint32) int {
	for _, m := range mappings {
		if id >= m.GetContainerId() && id-m.GetContainerId() < m.GetLength() {
			return int(m.GetHostId() + id - m.GetContainerId())
		}
	}
	return -1
}

// checkUsers refuses user namespaces that can't be, or that would be none: a Pod
// whose root is the node's.
func checkUsers(opts *runtimeapi.NamespaceOption) error {
	given := opts.GetUsernsOptions()
	u := usersOf(opts)
	switch {
	case u == nil && len(given.GetUids())+len(given.GetGids()) > 0:
		return errors.New("users are mapped (userns_options), but the user namespace is the node's")
	case u == nil:
		return nil
	case u.GetMode() != runtimeapi.NamespaceMode_POD:
		return fmt.Errorf("user namespace of mode %v: %w: a Pod has its own or the node's", u.GetMode(), ErrUnsupported)
	case opts.GetNetwork() != runtimeapi.NamespaceMode_POD, opts.GetIpc() != runtimeapi.NamespaceMode_POD, opts.GetPid() == runtimeapi.NamespaceMode_NODE:
		return fmt.Errorf("user namespace (hostUsers: false) of a Pod in the node's network, process or IPC namespace: %w: remove hostNetwork, hostPID and hostIPC from the Pod's spec", ErrUnsupported)
	}
	for what, mappings := range map[string][]*runtimeapi.IDMapping{"users": u.GetUids(), "groups": u.GetGids()} {
		if hostID(mappings, 0) < 0 {
			return fmt.Errorf("user namespace: root is not among the mapped %s", what)
		}
		for _, m := range mappings {
			if m.GetLength() == 0 || m.GetHostId() == 0 || m.GetHostId()+m.GetLength() < m.GetHostId() || m.GetContainerId()+m.GetLength() < m.GetContainerId() {
				return fmt.Errorf("user namespace: %s %d and %d more can't be mapped to %d of the node", what, m.GetContainerId(), m.GetLength(), m.GetHostId())
			}
		}
	}
	return userNamespaces()
}

// userNamespaces tells why this machine can't make user namespaces; nil if it can.
func userNamespaces() error {
	limit, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil {
		return fmt.Errorf("user namespaces (hostUsers: false): %w: the kernel has none: %w", ErrUnsupported, err)
	}
	if strings.TrimSpace(string(limit)) == "0" {
		return fmt.Errorf("user namespaces (hostUsers: false): %w: the machine allows none: `sysctl -w user.max_user_namespaces=10000`", ErrUnsupported)
	}
	mapped, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("user namespaces (hostUsers: false): %w: %w", ErrUnsupported, err)
	}
	if f := strings.Fields(string(mapped)); len(f) != 3 || f[0] != "0" || f[1] != "0" {
		return fmt.Errorf("user namespaces (hostUsers: false): %w: the machine itself is in one", ErrUnsupported)
	}
	return nil
}

// checkHandlerUsers refuses a user namespace of a handler that makes none. The
// text is the kubelet's.
func (r *Runtime) checkHandlerUsers(handler string, config *runtimeapi.PodSandboxConfig) error {
	if usersOf(config.GetLinux().GetSecurityContext().GetNamespaceOptions()) == nil || r.handlers[handler].users {
		return nil
	}
	return fmt.Errorf("can't set `spec.hostUsers: false`, RuntimeClass handler %q does not support user namespaces: %w", handler, ErrUnsupported)
}

func sameUsers(a, b *runtimeapi.UserNamespace) bool {
	return (a == nil) == (b == nil) && sameMappings(a.GetUids(), b.GetUids()) && sameMappings(a.GetGids(), b.GetGids())
}

func sameMappings(a, b []*runtimeapi.IDMapping) bool {
	return slices.EqualFunc(a, b, func(x, y *runtimeapi.IDMapping) bool {
		return x.GetHostId() == y.GetHostId() && x.GetContainerId() == y.GetContainerId() && x.GetLength() == y.GetLength()
	})
}

// checkMountedFor refuses a mount whose owners are mapped otherwise than the
// Pod's users.
func checkMountedFor(users *runtimeapi.UserNamespace, m *runtimeapi.Mount) error {
	if len(m.GetUidMappings())+len(m.GetGidMappings()) == 0 {
		return nil
	}
	if users == nil || !sameMappings(m.GetUidMappings(), users.GetUids()) || !sameMappings(m.GetGidMappings(), users.GetGids()) {
		return fmt.Errorf("owners that are mapped otherwise than the Pod's users: %w", ErrUnsupported)
	}
	return nil
}

// checkMapped refuses a user or group that the Pod's user namespace does not have.
func checkMapped(users *runtimeapi.UserNamespace, u specs.User) error {
	if users == nil {
		return nil
	}
	if hostID(users.GetUids(), u.UID) < 0 {
		return fmt.Errorf("user %d is not in the Pod's user namespace (hostUsers: false); choose a runAsUser below 65536", u.UID)
	}
	for _, gid := range append([]uint32{u.GID}, u.AdditionalGids...) {
		if hostID(users.GetGids(), gid) < 0 {
			return fmt.Errorf("group %d is not in the Pod's user namespace (hostUsers: false); choose a runAsGroup, fsGroup and supplementalGroups below 65536", gid)
		}
	}
	return nil
}

func ociMappings(in []*runtimeapi.IDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range in {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Size: m.GetLength()})
	}
	return out
}

func processMappings(in []*runtimeapi.IDMapping) []syscall.SysProcIDMap {
	var out []syscall.SysProcIDMap
	for _, m := range in {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(m.GetContainerId()), HostID: int(m.GetHostId()), Size: int(m.GetLength())})
	}
	return out
}

// foundNamespaces has a process make the sandbox's user namespace and with it the
// others, which it is to own, and pins them. The process stays where it is to hold
// a process namespace.
func (r *Runtime) foundNamespaces(ctx context.Context, sb *sandbox, hostname string) error {
	founder, err := r.startFounder(sb)
	if err != nil {
		return fmt.Errorf("make the Pod's user namespace: %w", err)
	}
	dir := sb.namespaceDir()
	for _, kind := range []string{"user", "ipc", "uts", "pid"} {
		if kind == "pid" && !sb.sharedPID() {
			continue
		}
		if err := host.PinNamespace(founder.namespace(kind), filepath.Join(dir, kind)); err != nil {
			return err
		}
	}
	if _, err := host.PinNetns(founder.namespace("net"), filepath.Join(dir, "net")); err != nil {
		return err
	}
	if err := sb.fillNamespaces(hostname); err != nil {
		return err
	}
	if sb.sharedPID() {
		return sb.change(func(s *sandboxState) { s.Holder = founder })
	}
	return r.stopHolder(ctx, sb)
}

// startFounder starts the idle program as root of a new user namespace. That root
// can't walk to the program's file, so it gets it opened.
func (r *Runtime) startFounder(sb *sandbox) (process, error) {
	path, err := sb.writeHolder()
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if err != nil {
		return process{}, err
	}
	program, err := os.Open(path)
	if err != nil {
		return process{}, err
	}
	defer program.Close()
	cg := r.holderCgroup(sb)
	if err := makeLeaf(cg); err != nil {
		return process{}, err
	}
	cmd := exec.Command("/proc/self/fd/3")
	cmd.Args, cmd.ExtraFiles = []string{"holder"}, []*os.File{program}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWPID,
		UidMappings: processMappings(sb.users().GetUids()), GidMappings: processMappings(sb.users().GetGids()),
		GidMappingsEnableSetgroups: true,
		// Not the node's root, whose rights a container could take from it.
		Credential: &syscall.Credential{Uid: 0, Gid: 0},
		Setsid:     true,
	}
	done, err := r.placeInCgroup(cmd, cg)
	if err != nil {
		return process{}, err
	}
	err = r.cfg.MountNS.Do(cmd.Start)
	done()
	if err != nil {
		return process{}, err
	}
	go cmd.Wait() // it is our child for as long as we live, and wants to be reaped
	return newProcess(cmd.Process.Pid)
}

// fillNamespaces sets what is in the namespaces of a sandbox with users of its own.
func (sb *sandbox) fillNamespaces(hostname string) error {
	netSysctls, ipcSysctls, err := podSysctls(sb.state.Config)
	if err != nil {
		return err
	}
	err = host.OnThrowAwayThread(func() error {
		for kind, flag := range map[string]int{"uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC} {
			f, err := os.Open(filepath.Join(sb.namespaceDir(), kind))
			if err != nil {
				return err
			}
			err = unix.Setns(int(f.Fd()), flag)
			f.Close()
			if err != nil {
				return fmt.Errorf("enter the Pod's %s namespace: %w", kind, err)
			}
		}
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", hostname, err)
		}
		return sb.writeOwnedSysctls(ipcSysctls)
	})
	if err != nil {
		return err
	}
	return sb.setNetSysctls(netSysctls)
}

// writeOwnedSysctls sets parameters of the IPC namespace, which belong to the
// root of the namespace's owner: so the calling thread, which is thrown away,
// becomes that user.
func (sb *sandbox) writeOwnedSysctls(values []sysctl) error {
	if len(values) == 0 {
		return nil
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("become the Pod's root: %w", err)
	}
	uid, _ := rootOf(sb.users())
	const same = ^uintptr(0)
	// The package's function changes the user of every thread.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		return fmt.Errorf("become the Pod's root: %w", errno)
	}
	// To the kernel, this process is one from now on whose memory is a secret.
	return errors.Join(writeSysctls(values), unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0))
}

// mountRootfs mounts an image for a container, as its root or as a volume of it.
func (r *Runtime) mountRootfs(sb *sandbox, c *container, img *image.Image, target, upper, work string) error {
	users, err := sb.openUsers()
	if err != nil {
		return err
	}
	if users == nil {
		return r.cfg.Store.MountRootfs(img, target, upper, work)
	}
	defer users.Close()
	return r.cfg.Store.MountRootfsFor(users, img, target, upper, work, filepath.Join(c.runDir, "layers"))
}

// giveStreams makes the pipes of a container's output, and of its input, its user's:
// programs open /dev/stderr anew. The OCI runtime does that itself where there is
// no user namespace, in which it may not. pid is the process that waits to become
// the container.
func (c *container) giveStreams(sb *sandbox, pid int) error {
	users := sb.users()
	if users == nil {
		return nil
	}
	uid := hostID(users.GetUids(), uint32(c.state.User.GetUid()))
	for fd := range 3 {
		path := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeNamedPipe == 0 {
			continue
		}
		if err == nil {
			err = os.Chown(path, uid, -1)
		}
		if err != nil {
			return fmt.Errorf("give the container its streams: %w", err)
		}
	}
	return nil
}

// openUsers opens the sandbox's user namespace; nil is the node's.
func (sb *sandbox) openUsers() (*os.File, error) {
	path := sb.namespaces().user
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the Pod's user namespace: %w", err)
	}
	return f, nil
}

// showToUsers mounts what a container of a user namespace mounts where its root
// can get to it, and with owners that are its users.
func (b *specBuilder) showToUsers(mounts []specs.Mount) error {
	users, err := b.sb.openUsers()
	if err != nil || users == nil {
		return err
	}
	defer users.Close()
	for i := range mounts {
		m := &mounts[i]
		if m.Type != "bind" || strings.HasPrefix(m.Source, b.c.runDir+"/") { // an image has its users already
			continue
		}
		target := filepath.Join(b.c.runDir, fmt.Sprintf("mount-%d", i))
		bind := host.MappedBind{Source: m.Source, Target: target, Users: users, Slave: slices.Contains(m.Options, "rslave")}
		if b.isUnmapped(m.Destination) {
			bind.Users = nil
		}
		if err := b.r.cfg.MountNS.BindMapped(bind); err != nil {
			return fmt.Errorf("mount %s for the Pod's user namespace (hostUsers: false): %w", m.Destination, err)
		}
		locked, err := lockedOptions(target)
		if err != nil {
			return err
		}
		m.Source, m.Options = target, append(m.Options, locked...)
	}
	return nil
}

// isUnmapped tells whether the mount at a path is one that CRI's caller wants
// with the owners that it has on the node.
func (b *specBuilder) isUnmapped(destination string) bool {
	for _, m := range b.config().GetMounts() {
		if filepath.Clean("/"+m.GetContainerPath()) == destination {
			return len(m.GetUidMappings())+len(m.GetGidMappings()) == 0
		}
	}
	return false
}

// lockedOptions are the options of a mount that a user namespace may not take
// away, and so has to name when it changes others.
func lockedOptions(path string) ([]string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return nil, fmt.Errorf("look at the mount at %s: %w", path, err)
	}
	var out []string
	for _, o := range []struct {
		flag int64
		name string
	}{{unix.ST_RDONLY, "ro"}, {unix.ST_NOSUID, "nosuid"}, {unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"}} {
		if st.Flags&o.flag != 0 {
			out = append(out, o.name)
		}
	}
	return out, nil
}
