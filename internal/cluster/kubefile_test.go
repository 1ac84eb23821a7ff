package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func loadKubeconfig(t *testing.T, path string) *clientcmdapi.Config {
	t.Helper()
	c, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Many programs change one file at the same time, and nothing is lost.
func TestKubeconfigIsChangedByOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "config")
	const programs = 20
	var wg sync.WaitGroup
	for i := range programs {
		wg.Go(func() {
			name := fmt.Sprintf("minato-c%d", i)
			if _, err := findKubeconfigs(path).merge(admin(name), name, useIfNone); err != nil {
				t.Error(err)
			}
			if i%2 == 1 {
				if from, err := findKubeconfigs(path).remove(name); err != nil || len(from) != 1 {
					t.Errorf("removed from %q, %v", from, err)
				}
			}
		})
	}
	wg.Wait()
	got := loadKubeconfig(t, path)
	if len(got.Contexts) != programs/2 || len(got.Clusters) != programs/2 || len(got.AuthInfos) != programs/2 {
		t.Errorf("%d contexts, %d clusters, %d users are left, want %d", len(got.Contexts), len(got.Clusters), len(got.AuthInfos), programs/2)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
}

// Mode, owner and a link stay, and a reader never sees half a file.
func TestKubeconfigIsReplacedInOneStep(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := clientcmd.WriteToFile(*admin("work"), real); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(real, 0o640), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(real, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.Open(real)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if file, err := findKubeconfigs(link).merge(admin("minato"), "minato", useIfNone); err != nil || file != link {
		t.Fatalf("merged into %q, %v", file, err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(real); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if root {
		if owner := ownerOf(t, real); owner != "65534:65534" {
			t.Errorf("the file's owner is %s", owner)
		}
	}
	if old, err := before.Stat(); err != nil || os.SameFile(old, info) {
		t.Errorf("the file was written in place: %v", err)
	}
	got := loadKubeconfig(t, real)
	if got.CurrentContext != "work" || len(got.Contexts) != 2 {
		t.Errorf("current %q of %d contexts", got.CurrentContext, len(got.Contexts))
	}
	if err := os.Remove(real); err != nil {
		t.Fatal(err)
	}
	if _, err := findKubeconfigs(link).merge(admin("minato"), "minato", useAlways); err == nil || !strings.Contains(err.Error(), "is a link to real, which does not exist") {
		t.Errorf("a link that leads nowhere: %v", err)
	}
}

// What root makes in somebody's home is theirs.
func TestNewKubeconfigBelongsToTheHome(t *testing.T) {
	if err := RequireRoot(); err != nil {
		t.Skip(err)
	}
	home := t.TempDir()
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(home, ".kube", "config")
	if _, err := findKubeconfigs(path).merge(admin("minato"), "minato", useIfNone); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Dir(path)} {
		if owner := ownerOf(t, p); owner != "65534:65534" {
			t.Errorf("%s belongs to %s", p, owner)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := loadKubeconfig(t, path); got.CurrentContext != "minato" {
		t.Errorf("current context %q", got.CurrentContext)
	}
}

// With several files, a context stays in the one that it is in, and the current
// one is where kubectl looks first.
func TestKubeconfigsOfAList(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	work := admin("work")
	if err := errors.Join(clientcmd.WriteToFile(*work, one), clientcmd.WriteToFile(*admin("minato"), two)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", one+":"+two)
	renewed := admin("minato")
	renewed.AuthInfos["minato"].Token = "renewed"
	for _, test := range []struct {
		use  useContext
		want string
	}{{useIfNone, "work"}, {useAlways, "minato"}} {
		file, err := findKubeconfigs("").merge(renewed, "minato", test.use)
		if err != nil || file != two {
			t.Fatalf("merged into %q, %v", file, err)
		}
		if got := loadKubeconfig(t, one); got.CurrentContext != test.want || len(got.Contexts) != 1 {
			t.Errorf("the first file: current %q, %d contexts; want %q", got.CurrentContext, len(got.Contexts), test.want)
		}
		if got := loadKubeconfig(t, two); got.AuthInfos["minato"].Token != "renewed" {
			t.Errorf("the second file: %+v", got.AuthInfos)
		}
	}
	if _, err := findKubeconfigs("").remove("minato"); err != nil {
		t.Fatal(err)
	}
	if got := loadKubeconfig(t, two); len(got.Contexts)+len(got.Clusters)+len(got.AuthInfos) != 0 {
		t.Errorf("after remove: %+v", got)
	}
}

func TestRemoveLeavesWhatOthersName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	config := admin("minato")
	config.Contexts["mine"] = &clientcmdapi.Context{Cluster: "minato", AuthInfo: "somebody", Namespace: "shop"}
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	from, context, err := RemoveKubeconfig(DefaultName, path)
	got := loadKubeconfig(t, path)
	if err != nil || context != "minato" || len(from) != 1 || got.Clusters["minato"] == nil || got.AuthInfos["minato"] != nil || got.Contexts["mine"] == nil || got.CurrentContext != "" {
		t.Errorf("removed from %q, %v: %+v", from, err, got)
	}
	if _, _, err := RemoveKubeconfig(DefaultName, path); !errors.Is(err, ErrNoContext) {
		t.Errorf("again: %v", err)
	}
	absent := filepath.Join(t.TempDir(), "none", "config")
	if _, _, err := RemoveKubeconfig(DefaultName, absent); !errors.Is(err, ErrNoContext) {
		t.Errorf("no file: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(absent)); err == nil {
		t.Error("a directory was made for nothing")
	}
}

// A lock that is held is waited for.
func TestKubeconfigLockIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	unlock, err := kubefile{path}.lock(dir, "config")
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan time.Time, 1)
	timer := time.AfterFunc(50*time.Millisecond, func() {
		released <- time.Now()
		unlock()
	})
	defer timer.Stop()
	if _, err := findKubeconfigs(path).merge(admin("minato"), "minato", useIfNone); err != nil {
		t.Fatal(err)
	}
	select {
	case <-released:
	default:
		t.Error("the file was changed while it was locked")
	}
}

// A change that changes nothing is not kept by a lock, and leaves none if it is killed.
func TestKubeconfigIsNotLockedForNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := errors.Join(clientcmd.WriteToFile(*admin("work"), path), os.WriteFile(path+".lock", nil, 0)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := kubefile{path}.modify(func(*clientcmdapi.Config) (bool, error) { return false, nil })
	if took := time.Since(began); err != nil || took >= lockedFor {
		t.Errorf("%v after %v", err, took)
	}
}

// What somebody puts in the place of a kubeconfig keeps nobody who looks at it.
func TestKubeconfigThatIsNone(t *testing.T) {
	pipe, large := filepath.Join(t.TempDir(), "pipe"), filepath.Join(t.TempDir(), "large")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(large, nil, 0o600), os.Truncate(large, 1<<40)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, large} {
		done := make(chan error, 1)
		go func() {
			done <- kubefile{path}.modify(func(*clientcmdapi.Config) (bool, error) { return true, nil })
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), path+" is not a file") {
				t.Errorf("%s: %v", path, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s is still read", path)
		}
	}
}

func ownerOf(t *testing.T, path string) string {
	t.Helper()
	owner, err := makeParents(path) // which only looks at what exists
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", owner.Uid, owner.Gid)
}
