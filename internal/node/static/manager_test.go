package static

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// decode makes a Pod of a file that has a name and a version.
func decode(data []byte, _ string) (*v1.Pod, error) {
	f := strings.Fields(string(data))
	if len(f) != 2 {
		return nil, errors.New("no Pod")
	}
	grace := int64(7)
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: f[0] + "-node-1", UID: types.UID(f[0] + f[1])},
		Spec:       v1.PodSpec{TerminationGracePeriodSeconds: &grace},
	}, nil
}

// fakeNode notes what it is told.
type fakeNode struct {
	mu  sync.Mutex
	did []string
}

func (n *fakeNode) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.did = append(n.did, fmt.Sprintf(format, args...))
}

func (n *fakeNode) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	did := n.did
	n.did = nil
	slices.Sort(did)
	return did
}

func (n *fakeNode) Update(p *v1.Pod) {
	if p.DeletionTimestamp != nil {
		n.note("end %s within %d", p.UID, *p.DeletionGracePeriodSeconds)
		return
	}
	n.note("run %s", p.UID)
}
func (n *fakeNode) Delete(p *v1.Pod)     { n.note("drop %s", p.UID) }
func (n *fakeNode) Show(p *v1.Pod)       { n.note("show %s", p.UID) }
func (n *fakeNode) Hide(p *v1.Pod)       { n.note("hide %s", p.UID) }
func (n *fakeNode) Taken(p *v1.Pod) bool { return p.Name == "etcd-node-1" }

func setup(t *testing.T) (*Manager, *fakeNode, func(name, text string)) {
	root := filepath.Join(t.TempDir(), "root")
	n := &fakeNode{}
	m := New(Config{Root: root, Decode: decode, Pods: n, Shown: n, Logger: slog.New(slog.DiscardHandler)})
	if err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	return m, n, func(name, text string) {
		path := filepath.Join(root, Dir, name)
		if text == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, n *fakeNode, want ...string) {
	t.Helper()
	if have := n.take(); !slices.Equal(have, want) {
		t.Errorf("did %q, want %q", have, want)
	}
}

func TestPodsFollowTheDirectory(t *testing.T) {
	m, n, write := setup(t)
	m.Sync()
	expect(t, n)
	write("web.yaml", "web 1")
	write(".web.yaml.swp", "web 9")
	write("broken.yaml", "x")
	write("taken.yaml", "etcd 1")
	write("web2.yaml", "web 2") // the same name: the first file counts
	m.Sync()
	m.Sync()
	expect(t, n, "run web1", "show web1")
	if !m.Owns("web1") || m.Owns("web2") {
		t.Error("the Pod of the first file is not the static one")
	}

	// A manifest that changes is another Pod, which waits for the end of the first.
	write("web.yaml", "web 3")
	m.Sync()
	m.Sync()
	expect(t, n, "end web1 within 7")
	pod, _ := decode([]byte("web 1"), "")
	m.Finished(&v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-node-1", UID: "web3"}}) // not the one that runs
	expect(t, n)
	m.Finished(pod)
	m.Sync()
	expect(t, n, "drop web1", "hide web1", "run web3", "show web3")

	write("web.yaml", "")
	write("web2.yaml", "")
	m.Sync()
	expect(t, n, "end web3 within 7")
	pod, _ = decode([]byte("web 3"), "")
	m.Finished(pod)
	m.Sync()
	expect(t, n, "drop web3", "hide web3")
}

// What a container has put in the place of the directory must lead nowhere.
func TestNothingOutsideIsRead(t *testing.T) {
	m, n, write := setup(t)
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.cfg.Root, Dir)
	if err := os.Symlink(outside, filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	write("web.yaml", "web 1")
	m.Sync()
	expect(t, n, "run web1", "show web1")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), dir); err != nil {
		t.Fatal(err)
	}
	m.Sync() // the link leads to a directory that the node does not have
	expect(t, n, "end web1 within 7")
}

func TestChangesAreSeenAtOnce(t *testing.T) {
	m, n, write := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	eventually := func(want ...string) {
		t.Helper()
		var all []string
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			all = append(all, n.take()...)
			slices.Sort(all)
			if slices.Equal(all, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("did %q, want %q", all, want)
			}
		}
	}
	write("web.yaml", "web 1")
	eventually("run web1", "show web1")
	// The directory is replaced, and so is the watch.
	dir := filepath.Join(m.cfg.Root, Dir)
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	m.Look()
	eventually("end web1 within 7")
	if err := m.Prepare(); err != nil {
		t.Fatal(err)
	}
	m.Look()
	write("next.yaml", "next 1")
	eventually("run next1", "show next1")
}
