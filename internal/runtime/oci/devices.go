package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices are those that a container gets, and the rules by which its cgroup lets it
// use them: none but these, unless it is privileged.
func (b *specBuilder) devices() ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	privileged := b.security().GetPrivileged()
	rules := []specs.LinuxDeviceCgroup{{Allow: privileged, Access: "rwm"}}
	var devices []specs.LinuxDevice
	if privileged {
		devices = hostDevices()
	}
	for _, d := range b.config().GetDevices() {
		found, err := b.r.devicesAt(d.GetHostPath(), d.GetContainerPath())
		if err != nil {
			return nil, nil, err
		}
		if b.sb.users() != nil && d.GetContainerPath() != "" && filepath.Clean(d.GetHostPath()) != filepath.Clean(d.GetContainerPath()) {
			return nil, nil, inUserNamespace(d.GetContainerPath())
		}
		for _, dev := range found {
			devices = append(devices, dev)
			rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: dev.Type, Major: &dev.Major, Minor: &dev.Minor, Access: d.GetPermissions()})
		}
	}
	more, moreRules, err := b.cdiDevices()
	if err != nil {
		return nil, nil, err
	}
	for _, d := range more {
		if b.sb.users() != nil && !b.r.sameOnNode(d) {
			return nil, nil, inUserNamespace(d.Path)
		}
		devices = slices.DeleteFunc(devices, func(old specs.LinuxDevice) bool { return old.Path == d.Path })
	}
	return append(devices, more...), append(rules, moreRules...), nil
}

// inUserNamespace is why a device can't be made in a Pod with users of its own, where
// only devices of the node at their own paths can be shown.
func inUserNamespace(path string) error {
	return fmt.Errorf("device %s: %w in a user namespace (hostUsers: false), in which the kernel makes no devices, unless it has that path on the node; remove hostUsers from the Pod's spec", path, ErrUnsupported)
}

// sameOnNode tells whether the node has that device at its path.
func (r *Runtime) sameOnNode(d specs.LinuxDevice) bool {
	have, err := r.deviceOnNode(d.Path, d.Path)
	return err == nil && have.Type == d.Type && have.Major == d.Major && have.Minor == d.Minor
}

// errNoDevice is that of a file that is something else.
var errNoDevice = errors.New("it is no device")

// deviceOnNode describes the device at a path of the node.
func (r *Runtime) deviceOnNode(hostPath, containerPath string) (specs.LinuxDevice, error) {
	f, err := r.cfg.MountNS.Root().OpenPath(hostPath)
	if err != nil {
		return specs.LinuxDevice{}, fmt.Errorf("device %s: %w", hostPath, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return specs.LinuxDevice{}, fmt.Errorf("device %s: %w", hostPath, err)
	}
	d, err := deviceOf(info, containerPath)
	if err != nil {
		return d, fmt.Errorf("device %s: %w", hostPath, err)
	}
	return d, nil
}

// deviceOf describes a device node.
func deviceOf(info fs.FileInfo, containerPath string) (specs.LinuxDevice, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return specs.LinuxDevice{}, errNoDevice
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, errNoDevice
	}
	mode, uid, gid := os.FileMode(st.Mode&0o777), st.Uid, st.Gid
	return specs.LinuxDevice{
		Path: containerPath, Type: kind, FileMode: &mode, UID: &uid, GID: &gid,
		Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
	}, nil
}

// devicesAt returns the device at a path of the node, or all below a directory.
func (r *Runtime) devicesAt(hostPath, containerPath string) ([]specs.LinuxDevice, error) {
	if containerPath == "" {
		containerPath = hostPath
	}
	d, err := r.deviceOnNode(hostPath, containerPath)
	if err == nil {
		return []specs.LinuxDevice{d}, nil
	}
	if !errors.Is(err, errNoDevice) {
		return nil, err
	}
	dir, openErr := r.cfg.MountNS.Root().OpenRoot(hostPath)
	if openErr != nil {
		return nil, err
	}
	defer dir.Close()
	var out []specs.LinuxDevice
	walkErr := fs.WalkDir(dir.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeDevice == 0 {
			return err
		}
		info, err := dir.Lstat(path)
		if err != nil {
			return err
		}
		d, err := deviceOf(info, filepath.Join(containerPath, path))
		if err == nil {
			out = append(out, d)
		}
		return err
	})
	if walkErr == nil && len(out) == 0 {
		walkErr = errors.New("no device is there")
	}
	if walkErr != nil {
		return nil, fmt.Errorf("devices below %s: %w", hostPath, walkErr)
	}
	return out, nil
}

// hostDevices are all that a privileged container gets. Terminals and message
// queues are its own; nodes that vanish while we look are nobody's.
func hostDevices() []specs.LinuxDevice {
	var out []specs.LinuxDevice
	filepath.WalkDir("/dev", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if e.IsDir() {
			switch path {
			case "/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.lxc":
				return fs.SkipDir
			}
			return nil
		}
		switch path {
		case "/dev/console", "/dev/ptmx", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty":
			return nil // the OCI runtime makes these
		}
		if e.Type()&fs.ModeDevice == 0 {
			return nil
		}
		if info, err := os.Lstat(path); err == nil {
			if d, err := deviceOf(info, path); err == nil {
				out = append(out, d)
			}
		}
		return nil
	})
	return out
}
