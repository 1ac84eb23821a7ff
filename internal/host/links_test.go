package host

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interfaces that exist, that come and that go are told, and the end of the context and
// an error of who is told end it.
func TestFollowLinks(t *testing.T) {
	requireRoot(t)
	ns, err := CreateNetnsAt(filepath.Join(t.TempDir(), "node"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := DeleteNetns(ns); err != nil {
			t.Error(err)
		}
	})
	n := testNet(t, ns)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan netlink.LinkUpdate, 100)
	ended := make(chan error, 1)
	go func() { ended <- FollowLinks(ctx, ns, func(u netlink.LinkUpdate) error { told <- u; return nil }) }()
	await := func(kind uint16, name string) {
		t.Helper()
		for deadline := time.After(20 * time.Second); ; {
			select {
			case u := <-told:
				if u.Header.Type == kind && u.Attrs().Name == name {
					return
				}
			case <-deadline:
				t.Fatalf("nothing is told of %s", name)
			}
		}
	}
	await(unix.RTM_NEWLINK, "lo")
	if err := n.EnsureBridge("here", 1500); err != nil {
		t.Fatal(err)
	}
	await(unix.RTM_NEWLINK, "here")
	if err := n.DeleteLink("here"); err != nil {
		t.Fatal(err)
	}
	await(unix.RTM_DELLINK, "here")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end of the context: %v", err)
	}
	enough := errors.New("enough")
	if err := FollowLinks(t.Context(), ns, func(netlink.LinkUpdate) error { return enough }); err != enough {
		t.Errorf("an error of who is told: %v", err)
	}
	if err := FollowLinks(t.Context(), Netns{Name: "none", Path: filepath.Join(t.TempDir(), "none")}, nil); err == nil {
		t.Error("a namespace that is not there is followed")
	}
}
