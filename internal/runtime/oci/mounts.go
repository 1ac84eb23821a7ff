package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mounts are those that every Linux program expects, the sandbox's own files,
// and the pod's volumes, which replace either of them at the same place.
func (b *specBuilder) mounts() ([]specs.Mount, error) {
	var volumes []specs.Mount
	for i, m := range b.config().GetMounts() {
		mount, err := b.volume(i, m)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.GetContainerPath(), err)
		}
		volumes = append(volumes, mount)
	}
	fromCDI, err := b.cdiMounts()
	if err != nil {
		return nil, err
	}
	volumes = append(slices.DeleteFunc(volumes, func(v specs.Mount) bool {
		return slices.ContainsFunc(fromCDI, func(m specs.Mount) bool { return v.Destination == m.Destination })
	}), fromCDI...)
	var mounts []specs.Mount
	for _, m := range append(b.systemMounts(), b.sandboxMounts()...) {
		if !slices.ContainsFunc(volumes, func(v specs.Mount) bool { return v.Destination == m.Destination }) {
			mounts = append(mounts, m)
		}
	}
	mounts = append(mounts, volumes...)
	if err := b.showToUsers(mounts); err != nil {
		return nil, err
	}
	// A mount hides what was mounted below it before.
	slices.SortStableFunc(mounts, func(x, y specs.Mount) int {
		return strings.Count(x.Destination, "/") - strings.Count(y.Destination, "/")
	})
	return mounts, nil
}

func (b *specBuilder) systemMounts() []specs.Mount {
	access := "ro"
	if b.security().GetPrivileged() {
		access = "rw"
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	if !b.sb.hostIPC() {
		return append(mounts, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}})
	}
	if _, err := os.Stat("/dev/mqueue"); err == nil {
		mounts = append(mounts, specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "nosuid", "noexec", "nodev"}})
	}
	return mounts
}

func (b *specBuilder) sandboxMounts() []specs.Mount {
	options := []string{"rbind", "rprivate"}
	if b.security().GetReadonlyRootfs() {
		options = append(options, "ro")
	} else {
		options = append(options, "rw")
	}
	shm := b.sb.shmDir()
	if b.sb.hostIPC() {
		shm = "/dev/shm"
	}
	return []specs.Mount{
		{Destination: "/etc/hostname", Type: "bind", Source: b.sb.hostnameFile(), Options: options},
		{Destination: "/etc/resolv.conf", Type: "bind", Source: b.sb.resolvFile(), Options: options},
		{Destination: "/dev/shm", Type: "bind", Source: shm, Options: []string{"rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"}},
	}
}

// volume translates one of the pod's mounts.
func (b *specBuilder) volume(i int, m *runtimeapi.Mount) (specs.Mount, error) {
	source := m.GetHostPath()
	var err error
	if m.GetImage().GetImage() != "" {
		source, err = b.imageVolume(i, m)
	} else {
		// Links are the node's to resolve, neither the container's nor the
		// machine's.
		source, err = b.r.cfg.MountNS.Root().EvalSymlinks(source)
	}
	if err != nil {
		return specs.Mount{}, err
	}
	mode, err := b.propagation(source, m.GetPropagation())
	if err == nil && mode == "rshared" && b.sb.users() != nil {
		err = fmt.Errorf("mount propagation Bidirectional: %w in a user namespace (hostUsers: false), whose mounts the kernel keeps from the node", ErrUnsupported)
	}
	if err != nil {
		return specs.Mount{}, err
	}
	options := []string{"rbind", mode}
	switch {
	case m.GetRecursiveReadOnly():
		options = append(options, "rro")
	case m.GetReadonly() || m.GetImage().GetImage() != "":
		options = append(options, "ro")
	default:
		options = append(options, "rw")
	}
	if m.GetImage().GetImage() != "" {
		options = append(options, "noexec") // what the API says of a volume of this type
	}
	dest := filepath.Clean("/" + m.GetContainerPath())
	return specs.Mount{Destination: dest, Type: "bind", Source: source, Options: options}, nil
}

// propagation is the mount option for what was asked. A source that does not
// propagate mounts would hold back without a word what one side mounts for the
// other, so it is an error.
func (b *specBuilder) propagation(source string, asked runtimeapi.MountPropagation) (string, error) {
	if asked == runtimeapi.MountPropagation_PROPAGATION_PRIVATE {
		return "rprivate", nil
	}
	p, err := b.r.cfg.MountNS.PropagationOf(source)
	switch {
	case err != nil:
		return "", err
	case asked == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL && p.Shared:
		return "rshared", nil
	case asked == runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER && (p.Shared || p.Slave):
		return "rslave", nil
	}
	return "", fmt.Errorf("mount propagation is asked for, and the mount at %s that %s is on does not propagate: share it on the node with `mount --make-rshared %s`", p.Point, source, p.Point)
}

// imageVolume mounts an image's root file system for use as a volume.
func (b *specBuilder) imageVolume(i int, m *runtimeapi.Mount) (string, error) {
	img, err := b.r.cfg.Store.Pin(b.c.state.ID, m.GetImage().GetImage())
	if err != nil {
		return "", err
	}
	target := filepath.Join(b.c.runDir, fmt.Sprintf("volume-%d", i))
	if err := os.Mkdir(target, 0o755); err != nil {
		return "", err
	}
	if err := b.r.mountRootfs(b.sb, b.c, img, target, "", ""); err != nil {
		return "", err
	}
	if m.GetImageSubPath() == "" {
		return target, nil
	}
	f, err := openInRoot(target, m.GetImageSubPath())
	if err != nil {
		return "", fmt.Errorf("image path %s: %w", m.GetImageSubPath(), err)
	}
	defer f.Close()
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// rootPropagation has to allow what the most open volume wants.
func (b *specBuilder) rootPropagation() string {
	out := ""
	for _, m := range b.config().GetMounts() {
		switch m.GetPropagation() {
		case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
			return "rshared"
		case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
			out = "rslave"
		}
	}
	return out
}
