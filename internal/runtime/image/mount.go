package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// MountRootfs mounts the image at target as a container's root file system.
// Changes go to upper; work is overlayfs's scratch directory on the same file
// system. Without upper the mount is read-only.
func (s *Store) MountRootfs(img *Image, target, upper, work string) error {
	return mountRootfs(s.layersDir(), img, target, upper, work)
}

// MountRootfsFor is MountRootfs for the users of a user namespace: the image's
// files belong to the namespace's user of the number that they have in the image.
// scratch is a new entry of a directory, which is gone again afterwards.
func (s *Store) MountRootfsFor(users *os.File, img *Image, target, upper, work, scratch string) (err error) {
	// overlayfs can't map owners itself, but it keeps the mapping of mounts that
	// it finds its layers in.
	var here *host.MountNS
	if err := here.BindMapped(host.MappedBind{Source: s.layersDir(), Target: scratch, Users: users}); err != nil {
		return fmt.Errorf("mount image %s at %s: layers: %w", img.ID, target, err)
	}
	defer func() { err = errors.Join(err, host.Unmount(scratch), os.Remove(scratch)) }()
	return mountRootfs(scratch, img, target, upper, work)
}

func mountRootfs(layers string, img *Image, target, upper, work string) error {
	lower := lowerDirs(img.Layers, upper == "")
	if len(lower) > maxLower {
		return fmt.Errorf("mount image %s: it has %d different layers; overlayfs takes %d at most", img.ID, len(lower), maxLower)
	}
	options := "lowerdir=" + strings.Join(lower, ":")
	flags := uintptr(0)
	if upper != "" {
		// volatile: this upper layer is not mounted again after a crash of the
		// machine, so that it need not be on the disk by then.
		options += ",volatile,upperdir=" + upper + ",workdir=" + work
	} else {
		flags = unix.MS_RDONLY
	}
	err := inDirectory(layers, func() error {
		if len(options) >= os.Getpagesize() {
			return mountOneByOne(lower, target, upper, work)
		}
		return unix.Mount("overlay", target, "overlay", flags, options)
	})
	if err != nil {
		return fmt.Errorf("mount image %s at %s: overlayfs: %w", img.ID, target, err)
	}
	return nil
}

// maxLower is how many lower directories overlayfs takes (OVL_MAX_STACK).
const maxLower = 500

// mountOneByOne mounts what is too much for the options of one mount, which are a
// page at most. Linux takes lower directories one by one since 6.5.
func mountOneByOne(lower []string, target, upper, work string) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	for _, dir := range lower {
		if err := unix.FsconfigSetString(fs, "lowerdir+", dir); err != nil {
			return fmt.Errorf("its %d layers do not fit into one mount; Linux 6.5 and later take them one by one: %w", len(lower), err)
		}
	}
	attributes := unix.MOUNT_ATTR_RDONLY
	if upper != "" {
		attributes = 0
		for _, option := range [][2]string{{"upperdir", upper}, {"workdir", work}} {
			if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
				return fmt.Errorf("%s: %w", option[0], err)
			}
		}
		if err := unix.FsconfigSetFlag(fs, "volatile"); err != nil {
			return fmt.Errorf("volatile: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(mount)
	return unix.MoveMount(mount, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// lowerDirs orders layers for overlayfs, which wants the top one first, each
// only once, and at least two for a read-only mount.
func lowerDirs(bottomFirst []string, readOnly bool) []string {
	var lower []string
	for _, name := range slices.Backward(bottomFirst) {
		// A layer that comes again further down is hidden by its first occurrence.
		if !slices.Contains(lower, name) {
			lower = append(lower, name)
		}
	}
	for i := 0; len(lower) == 0 || readOnly && len(lower) < 2; i++ {
		lower = append(lower, emptyLayers[i])
	}
	return lower
}

// inDirectory runs fn on a thread of its own whose working directory is dir:
// relative layer names keep the mount options short enough for the kernel.
func inDirectory(dir string, fn func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			errc <- fmt.Errorf("unshare working directory: %w", err)
			return
		}
		if err := unix.Chdir(dir); err != nil {
			errc <- fmt.Errorf("enter %s: %w", filepath.Clean(dir), err)
			return
		}
		errc <- fn()
	}()
	return <-errc
}
