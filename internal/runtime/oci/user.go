package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// userDatabase is a root file system's /etc/passwd and /etc/group.
type userDatabase struct {
	users  []user.User
	groups []user.Group
}

// foundUser is the user that a container runs as.
type foundUser struct {
	uid, gid uint32
	home     string
	// groups lists the user's memberships, without gid.
	groups []uint32
}

// maxDatabase bounds how much of an image's /etc/passwd and /etc/group is read,
// in bytes.
const maxDatabase = 8 << 20

// maxID is the largest user or group ID. The kernel's uid_t has 32 bits, and
// its last value, -1, means "leave it as it is".
const maxID = math.MaxUint32 - 1

// toID checks a number that an image or a Pod gives against the kernel's uid_t:
// one that is cut to 32 bits names another user, in the worst case root.
func toID(n int64) (uint32, error) {
	if n < 0 || n > maxID {
		return 0, fmt.Errorf("%d is not a user or group ID, which is a number from 0 to %d", n, int64(maxID))
	}
	return uint32(n), nil
}

// readUserDatabase resolves symbolic links inside the root file system: an
// image must not have the node's files read.
func readUserDatabase(rootfs string) (userDatabase, error) {
	var db userDatabase
	passwd, err := readInRoot(rootfs, "etc/passwd")
	if err == nil {
		err = db.addUsers(passwd)
	}
	if err != nil {
		return db, fmt.Errorf("read /etc/passwd of the image: %w", err)
	}
	group, err := readInRoot(rootfs, "etc/group")
	if err == nil {
		err = db.addGroups(group)
	}
	if err != nil {
		return db, fmt.Errorf("read /etc/group of the image: %w", err)
	}
	return db, nil
}

func (db *userDatabase) addUsers(passwd []byte) (err error) {
	db.users, err = user.ParsePasswd(bytes.NewReader(withNumbers(passwd, 2, 3)))
	return err
}

func (db *userDatabase) addGroups(group []byte) (err error) {
	db.groups, err = user.ParseGroup(bytes.NewReader(withNumbers(group, 2)))
	return err
}

// withNumbers leaves out the lines in which one of these colon-separated fields
// is not a number: the parser of moby/sys takes such a field for 0, which is
// root's ID.
func withNumbers(data []byte, fields ...int) []byte {
	var out []byte
	for line := range bytes.Lines(data) {
		parts := bytes.Split(bytes.TrimSpace(line), []byte(":"))
		bad := slices.ContainsFunc(fields, func(i int) bool {
			if i >= len(parts) {
				return true
			}
			_, err := strconv.ParseInt(string(parts[i]), 10, 64)
			return err != nil && !errors.Is(err, strconv.ErrRange)
		})
		if !bad {
			out = append(out, line...)
		}
	}
	return out
}

// openInRoot finds a file below rootfs and opens it with O_PATH. Links are followed as if
// rootfs were "/".
func openInRoot(rootfs, name string) (*os.File, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		// Nothing is opened that an image may have put there: a device would
		// notice, and a named pipe would wait for its writer.
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readInRoot reads a regular file below rootfs; one that is not there is empty.
func readInRoot(rootfs, name string) ([]byte, error) {
	at, err := openInRoot(rootfs, name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer at.Close()
	info, err := at.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(host.FilePath(at))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDatabase+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDatabase {
		return nil, fmt.Errorf("it is larger than the limit of %d bytes", maxDatabase)
	}
	return data, nil
}

// resolve finds the user that an image or a Pod names: "", "1000", "app",
// "app:staff", "1000:1000". What looks like a number is one: a line of
// /etc/passwd whose name is a number is not searched for, since Kubernetes has
// checked runAsNonRoot against the number.
func (db userDatabase) resolve(s string) (foundUser, error) {
	userPart, groupPart, hasGroup := strings.Cut(s, ":")
	found := foundUser{home: "/"}
	id, numeric, err := parseID(userPart)
	if err != nil {
		return found, fmt.Errorf("user %q: %w", userPart, err)
	}
	if userPart == "" {
		numeric = true // root
	}
	i := slices.IndexFunc(db.users, func(u user.User) bool {
		return numeric && int64(u.Uid) == int64(id) || !numeric && u.Name == userPart
	})
	name := userPart
	found.uid = id
	switch {
	case i >= 0:
		if err := found.take(db.users[i]); err != nil {
			return found, err
		}
		name = db.users[i].Name
	case !numeric:
		return found, fmt.Errorf("user %q: the image's /etc/passwd has no such user", userPart)
	case found.uid == 0:
		found.home = "/root"
	}
	if hasGroup && groupPart != "" {
		if found.gid, err = db.resolveGroup(groupPart); err != nil {
			return found, err
		}
	}
	return found, db.memberships(name, &found)
}

// take copies the IDs and the home directory of a line of /etc/passwd.
func (f *foundUser) take(u user.User) (err error) {
	if f.uid, err = toID(int64(u.Uid)); err != nil {
		return fmt.Errorf("user %q in the image's /etc/passwd: %w", u.Name, err)
	}
	if f.gid, err = toID(int64(u.Gid)); err != nil {
		return fmt.Errorf("group of user %q in the image's /etc/passwd: %w", u.Name, err)
	}
	f.home = u.Home
	return nil
}

// memberships adds the groups that list the user.
func (db userDatabase) memberships(name string, found *foundUser) error {
	if name == "" {
		return nil
	}
	for _, g := range db.groups {
		if !slices.Contains(g.List, name) {
			continue
		}
		gid, err := toID(int64(g.Gid))
		if err != nil {
			return fmt.Errorf("group %q in the image's /etc/group: %w", g.Name, err)
		}
		if gid != found.gid {
			found.groups = append(found.groups, gid)
		}
	}
	return nil
}

func (db userDatabase) resolveGroup(s string) (uint32, error) {
	id, numeric, err := parseID(s)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", s, err)
	}
	if numeric {
		return id, nil
	}
	for _, g := range db.groups {
		if g.Name != s {
			continue
		}
		if id, err = toID(int64(g.Gid)); err != nil {
			return 0, fmt.Errorf("group %q in the image's /etc/group: %w", s, err)
		}
		return id, nil
	}
	return 0, fmt.Errorf("group %q: the image's /etc/group has no such group", s)
}

// parseID reads a user or group that is given as a number; anything else is a
// name.
func parseID(s string) (id uint32, numeric bool, err error) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, true, fmt.Errorf("it is not a user or group ID, which is a number from 0 to %d", int64(maxID))
	case err != nil:
		return 0, false, nil
	}
	id, err = toID(n)
	return id, true, err
}

// mergeGroups adds the Pod's groups to those that the image gives the user,
// unless the Pod wants only its own.
func mergeGroups(u foundUser, asked []int64, policy runtimeapi.SupplementalGroupsPolicy) ([]uint32, error) {
	groups := []uint32{u.gid}
	if policy != runtimeapi.SupplementalGroupsPolicy_Strict {
		groups = append(groups, u.groups...)
	}
	for _, n := range asked {
		gid, err := toID(n)
		if err != nil {
			return nil, fmt.Errorf("supplemental group: %w", err)
		}
		groups = append(groups, gid)
	}
	var out []uint32
	for _, gid := range groups {
		if !slices.Contains(out, gid) {
			out = append(out, gid)
		}
	}
	return out, nil
}
