package host

import (
	"fmt"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Propagation tells whether mounts are seen across mount namespaces.
type Propagation struct {
	// Point is the mount point.
	Point string
	// Shared mounts show what is mounted below them to their peers, and are
	// shown it. Slave ones are only shown it.
	Shared, Slave bool
}

// PropagationOf describes the mount that path is on.
func PropagationOf(path string) (Propagation, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return Propagation{}, fmt.Errorf("look up the mount of %s: %w", path, err)
	}
	found, err := listMounts(func(m *mountinfo.Info) bool { return uint64(m.ID) == st.Mnt_id })
	if err != nil {
		return Propagation{}, fmt.Errorf("look up the mount of %s: %w", path, err)
	}
	if len(found) == 0 {
		return Propagation{}, fmt.Errorf("look up the mount of %s: number %d is not listed", path, st.Mnt_id)
	}
	return propagationOf(found[0]), nil
}

// propagationOf reads the optional fields of proc_pid_mountinfo(5).
func propagationOf(m *mountinfo.Info) Propagation {
	p := Propagation{Point: m.Mountpoint}
	for field := range strings.FieldsSeq(m.Optional) {
		p.Shared = p.Shared || strings.HasPrefix(field, "shared:")
		p.Slave = p.Slave || strings.HasPrefix(field, "master:")
	}
	return p
}

// ShareMounts has mounts below dir propagate. Where the mount that dir is on is
// not shared, which is the kernel's default, dir becomes a shared mount of its
// own; other mounts of the machine stay as they are.
func ShareMounts(dir string) error {
	p, err := PropagationOf(dir)
	if err != nil || p.Shared {
		return err
	}
	if err := BindMount(dir, dir, false); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts below %s: %w", dir, err)
	}
	return nil
}
