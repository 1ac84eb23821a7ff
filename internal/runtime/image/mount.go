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
	options := "lowerdir=" + strings.Join(lower, ":")
	flags := uintptr(0)
	if upper != "" {
		// volatile: this upper layer is not mounted again after a crash of the
		// machine, so that it need not be on the disk by then.
		options += ",volatile,upperdir=" + upper + ",workdir=" + work
	} else {
		flags = unix.MS_RDONLY
	}
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("mount image %s: its %d layers do not fit into one mount", img.ID, len(img.Layers))
	}
	err := inDirectory(layers, func() error {
		return unix.Mount("overlay", target, "overlay", flags, options)
	})
	if err != nil {
		return fmt.Errorf("mount image %s at %s: overlayfs: %w", img.ID, target, err)
	}
	return nil
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
