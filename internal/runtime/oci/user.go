package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// userDatabase is a root file system's /etc/passwd and /etc/group.
type userDatabase struct {
	users  []passwdEntry
	groups []groupEntry
}

type passwdEntry struct {
	name     string
	uid, gid uint32
	home     string
}

type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// foundUser is whom a container runs as.
type foundUser struct {
	uid, gid uint32
	home     string
	// groups lists the user's memberships, without gid.
	groups []uint32
}

// maxDatabase bounds what is read of a file that the image brings.
const maxDatabase = 4 << 20

// readUserDatabase resolves links inside the root file system: an image must
// not have the node's files read.
func readUserDatabase(rootfs string) (userDatabase, error) {
	var db userDatabase
	for name, add := range map[string]func(io.Reader) error{"etc/passwd": db.addUsers, "etc/group": db.addGroups} {
		f, err := openInRoot(rootfs, name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err == nil {
			err = add(io.LimitReader(f, maxDatabase))
			f.Close()
		}
		if err != nil {
			return db, fmt.Errorf("read /%s of the image: %w", name, err)
		}
	}
	return db, nil
}

func (db *userDatabase) addUsers(r io.Reader) error {
	return eachLine(r, func(f []string) {
		if len(f) < 6 {
			return
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 == nil && err2 == nil {
			db.users = append(db.users, passwdEntry{f[0], uint32(uid), uint32(gid), f[5]})
		}
	})
}

func (db *userDatabase) addGroups(r io.Reader) error {
	return eachLine(r, func(f []string) {
		if len(f) < 4 {
			return
		}
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			db.groups = append(db.groups, groupEntry{f[0], uint32(gid), strings.Split(f[3], ",")})
		}
	})
}

// eachLine reads lines of colon-separated fields.
func eachLine(r io.Reader, fn func(fields []string)) error {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		fn(strings.Split(strings.TrimSpace(sc.Text()), ":"))
	}
	return sc.Err()
}

func openInRoot(rootfs, name string) (*os.File, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		// Not to hang on a named pipe that calls itself passwd.
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// resolve takes what images and pods write: "", "1000", "app", "app:staff",
// "1000:1000".
func (db userDatabase) resolve(s string) (foundUser, error) {
	userPart, groupPart, hasGroup := strings.Cut(s, ":")
	found := foundUser{home: "/"}
	name := userPart
	id, err := strconv.ParseUint(userPart, 10, 32)
	numeric := err == nil
	if userPart == "" {
		numeric = true // root
	}
	found.uid = uint32(id)
	i := slices.IndexFunc(db.users, func(u passwdEntry) bool {
		return numeric && u.uid == found.uid || !numeric && u.name == userPart
	})
	switch {
	case i >= 0:
		u := db.users[i]
		name, found.uid, found.gid, found.home = u.name, u.uid, u.gid, u.home
	case !numeric:
		return found, fmt.Errorf("user %q: the image's /etc/passwd does not have it", userPart)
	case found.uid == 0:
		found.home = "/root"
	}
	if hasGroup && groupPart != "" {
		if found.gid, err = db.resolveGroup(groupPart); err != nil {
			return found, err
		}
	}
	for _, g := range db.groups {
		if name != "" && slices.Contains(g.members, name) && g.gid != found.gid {
			found.groups = append(found.groups, g.gid)
		}
	}
	return found, nil
}

func (db userDatabase) resolveGroup(s string) (uint32, error) {
	if id, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(id), nil
	}
	for _, g := range db.groups {
		if g.name == s {
			return g.gid, nil
		}
	}
	return 0, fmt.Errorf("group %q: the image's /etc/group does not have it", s)
}

// mergeGroups adds the pod's groups to those that the image gives the user,
// unless the pod wants only its own.
func mergeGroups(u foundUser, asked []int64, policy runtimeapi.SupplementalGroupsPolicy) []uint32 {
	groups := []uint32{u.gid}
	if policy != runtimeapi.SupplementalGroupsPolicy_Strict {
		groups = append(groups, u.groups...)
	}
	for _, gid := range asked {
		groups = append(groups, uint32(gid))
	}
	var out []uint32
	for _, gid := range groups {
		if !slices.Contains(out, gid) {
			out = append(out, gid)
		}
	}
	return out
}
