package allocation

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/spec"
)

func TestUsers(t *testing.T) {
	dir, within := t.TempDir(), []UserRange{{First: 5 * UsersPerPod, Pods: 2}, {First: 7 * UsersPerPod, Pods: 1}}
	open := func() *Store {
		t.Helper()
		s, err := Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	want := func(uid types.UID, first uint32) {
		t.Helper()
		if got, err := s.Users(uid, within); err != nil || got != first {
			t.Errorf("users of %s = %d, %v; want %d", uid, got, err, first)
		}
	}
	for i := range 4 {
		if err := s.Set(types.UID(fmt.Sprint("pod", i)), Record{Granted: spec.Allocation{}}); err != nil {
			t.Fatal(err)
		}
	}
	want("pod0", 5<<16)
	want("pod1", 6<<16)
	want("pod0", 5<<16)
	s = open() // after a restart
	want("pod2", 7<<16)
	want("pod1", 6<<16)
	if _, err := s.Users("pod3", within); err == nil || !strings.Contains(err.Error(), "no users are left") {
		t.Errorf("of more Pods than there are users for: %v", err)
	}
	// What a resize grants does not change the users.
	r, _ := s.Get("pod1")
	if err := s.Set("pod1", Record{Granted: r.Granted, Users: r.Users}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("pod0"); err != nil {
		t.Fatal(err)
	}
	want("pod3", 5<<16)
	if _, err := s.Users("unknown", within); err == nil {
		t.Error("a Pod without a record has users")
	}
	for _, outside := range [][]UserRange{{{First: 0, Pods: 1}}, {{First: 1<<32 - 65536, Pods: 1}}, {{}}, nil} {
		if first, err := open().Users("pod2x", outside); err == nil {
			t.Errorf("%+v: users from %d on", outside, first)
		}
	}
}
