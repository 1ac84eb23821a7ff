package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestResolveUser(t *testing.T) {
	db := userDatabase{
		users:  []user.User{{Name: "root", Home: "/root"}, {Name: "app", Uid: 10, Gid: 20, Home: "/app"}},
		groups: []user.Group{{Name: "root"}, {Name: "staff", Gid: 30, List: []string{"app"}}, {Name: "own", Gid: 20, List: []string{"app"}}},
	}
	for in, want := range map[string]foundUser{
		"":           {0, 0, "/root", nil},
		"app":        {10, 20, "/app", []uint32{30}},
		"10":         {10, 20, "/app", []uint32{30}},
		"app:staff":  {10, 30, "/app", []uint32{20}},
		"app:7":      {10, 7, "/app", []uint32{30, 20}},
		"99":         {99, 0, "/", nil},
		"99:staff":   {99, 30, "/", nil},
		"4294967294": {4294967294, 0, "/", nil},
	} {
		got, err := db.resolve(in)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(foundUser{})); err != nil || diff != "" {
			t.Errorf("resolve(%q): %v\n%s", in, err, diff)
		}
	}
	for _, bad := range []string{"nobody", "app:nogroup", "4294967295", "app:4294967295", "app:-1"} {
		if got, err := db.resolve(bad); err == nil {
			t.Errorf("resolve(%q) = %v", bad, got)
		}
	}
	if got, err := (userDatabase{}).resolve("0"); err != nil || got.home != "/root" {
		t.Errorf("root without a passwd file: %v, %v", got, err)
	}
}

// A user given as a number never becomes another user, whatever the image's
// /etc/passwd says: Kubernetes checks runAsNonRoot against the number.
func TestNumericUserIsThatNumber(t *testing.T) {
	var db userDatabase
	passwd := "4294967296:x:0:0:::\n-1:x:0:0:::\n+5:x:0:0:::\n1000:x:0:0:::\n99999999999999999999:x:0:0:::\nword:x:one:0:::\nempty:x::0:::\nbig:x:4294967296:0:::\nminus:x:-1:0:::\nwide:x:7:4294967296:::\n"
	if err := db.addUsers([]byte(passwd)); err != nil {
		t.Fatal(err)
	}
	if err := db.addGroups([]byte("big:x:4294967296:fine\nword:x:one:\n")); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]uint32{"1000": 1000, "+5": 5} {
		if got, err := db.resolve(in); err != nil || got.uid != want {
			t.Errorf("resolve(%q) = %v, %v; want the ID %d", in, got, err, want)
		}
	}
	for _, bad := range []string{
		"4294967296", "4294967295", "-1", "99999999999999999999", "word", "empty", "big", "minus", "wide",
		"1000:big", "1000:word", "1000:-1", "1000:4294967296", "fine",
	} {
		if got, err := db.resolve(bad); err == nil {
			t.Errorf("resolve(%q) = %v, want an error", bad, got)
		}
	}
	for _, gid := range []int64{-1, 1 << 32, 1<<32 - 1} {
		if got, err := mergeGroups(foundUser{}, []int64{gid}, runtimeapi.SupplementalGroupsPolicy_Merge); err == nil {
			t.Errorf("supplemental group %d = %v, want an error", gid, got)
		}
	}
}

// An image's user files are read inside its root file system, and not without end.
func TestReadUserDatabase(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "passwd"), []byte("outside:x:5:5::/:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	line := "app:x:10:20::/app:/bin/sh\n"
	for _, tc := range []struct {
		name  string
		make  func(path string) error
		users int
		err   string
	}{
		{"none", func(string) error { return nil }, 0, ""},
		{"file", func(p string) error { return os.WriteFile(p, []byte("# comment\n"+line), 0o600) }, 1, ""},
		{"link out", func(p string) error { return os.Symlink(filepath.Join(outside, "passwd"), p) }, 0, ""},
		{"link up", func(p string) error { return os.Symlink("../../../../../../../../../etc/passwd-there", p) }, 1, ""},
		{"pipe", func(p string) error { return unix.Mkfifo(p, 0o600) }, 0, "regular"},
		// Opening it would fail, since no driver has this number.
		{"device", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(4095, 0))) }, 0, "regular"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }, 0, "regular"},
		{"too large", func(p string) error {
			return os.WriteFile(p, []byte(strings.Repeat(line, maxDatabase/len(line)+1)), 0o600)
		}, 0, "limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "etc/passwd-there"), []byte(line), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tc.make(filepath.Join(root, "etc/passwd")); err != nil {
				t.Fatal(err)
			}
			db, err := readUserDatabase(root)
			if tc.err == "" && (err != nil || len(db.users) != tc.users) {
				t.Errorf("users = %v, %v", db.users, err)
			}
			if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "/etc/passwd")) {
				t.Errorf("error = %v, want one about %s", err, tc.err)
			}
		})
	}
}

func FuzzUserDatabase(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "root:x:0:a,b\n", "root:root")
	f.Add("::::::", ":::", ":")
	f.Add("1000:x:0:0:::\n", "", "1000")
	f.Fuzz(func(t *testing.T, passwd, group, who string) {
		db := userDatabase{}
		if db.addUsers([]byte(passwd)) != nil || db.addGroups([]byte(group)) != nil {
			return
		}
		found, err := db.resolve(who)
		if err != nil {
			return
		}
		groups, err := mergeGroups(found, nil, runtimeapi.SupplementalGroupsPolicy_Strict)
		if err != nil || !slices.Contains(groups, found.gid) {
			t.Errorf("resolve(%q) = %v loses its group: %v", who, found, err)
		}
		name, _, _ := strings.Cut(who, ":")
		if id, numeric, _ := parseID(name); numeric && found.uid != id {
			t.Errorf("resolve(%q) = %v, want the ID %d", who, found, id)
		}
	})
}
