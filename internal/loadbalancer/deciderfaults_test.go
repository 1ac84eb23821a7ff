package loadbalancer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What could not be written is tried again, whatever else happens meanwhile, and less and less often.
func TestFailuresAreTriedAgain(t *testing.T) {
	s := newStage(t, "node-1", "node-1")
	broken := errors.New("broken")
	s.announcer.fail = func(op string) error {
		if strings.HasPrefix(op, "apply default/bad") {
			return broken
		}
		return nil
	}
	s.set("bad", "172.30.200.1", []string{"node-1"})
	s.set("good", "172.30.200.2", []string{"node-1"})
	err := s.all()
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "service default/bad") {
		t.Fatalf("error %v", err)
	}
	s.wants("good", "172.30.200.2!>node-1")
	s.wantEvents("bad")
	began := s.clock
	for _, after := range []int{1, 3, 7} {
		s.set("good", "172.30.200.2", []string{"node-1"})
		s.must(s.changed())
		s.passTo()
		if got := int(s.clock.Sub(began).Seconds()); got != after {
			t.Errorf("tried again after %d s, want %d", got, after)
		}
		if err := s.changed(); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	}
	if slices.Contains(s.announcer.took(), "sweep") {
		t.Error("swept before everything was applied")
	}
	s.announcer.fail = nil
	s.passTo()
	s.must(s.changed())
	s.wants("bad", "172.30.200.1!>node-1")
	s.wantEvents("bad", "nodeAssigned")
	if at := s.later(); !at.IsZero() {
		t.Errorf("something is due at %v", at)
	}
}

// An announcer that can't be opened is tried once in each step, not once for each Service; a failed change of the peers and
// a failed sweep are made up for.
func TestOpenPeersAndSweepAreTriedAgain(t *testing.T) {
	s := newStage(t, "node-1", "node-1", "node-2")
	failing := "open"
	s.announcer.fail = func(op string) error {
		if failing != "" && strings.HasPrefix(op, failing) {
			return errors.New(failing + " fails")
		}
		return nil
	}
	for i := range 5 {
		s.set(fmt.Sprintf("web-%d", i), fmt.Sprintf("172.30.200.%d", i+1), []string{"node-1"})
	}
	if err := s.all(); err == nil || !strings.Contains(err.Error(), "2 more Services") {
		t.Errorf("error %v", err)
	}
	s.wantOps("open")
	failing = "sweep"
	s.passTo()
	if err := s.changed(); err == nil || s.announcer.has("web-4") == "" {
		t.Errorf("error %v, web-4 %q", err, s.announcer.has("web-4"))
	}
	failing = "peers"
	s.passTo()
	s.must(s.changed())
	s.list = append(s.list, fakeNode("node-3", 2))
	if err := s.all(); err == nil {
		t.Error("no error although the peers could not be set")
	}
	failing = ""
	s.announcer.took()
	s.passTo()
	s.must(s.changed())
	s.wantOps("peers node-2,node-3")
	if !s.later().IsZero() {
		t.Error("something is due")
	}
}

// A failed removal is made up for, and a Service of the same name that comes meanwhile is not lost.
func TestFailedRemoval(t *testing.T) {
	s := newStage(t, "node-1", "node-1")
	s.set("web", "172.30.200.1", []string{"node-1"})
	s.must(s.all())
	s.announcer.fail = func(string) error { return errors.New("broken") }
	s.remove("web")
	if s.changed() == nil {
		t.Fatal("no error")
	}
	s.announcer.fail = nil
	s.passTo()
	s.must(s.changed())
	s.wants("web", "")
	if len(s.services) != 0 || len(s.failed) != 0 {
		t.Errorf("%d Services, %d failed", len(s.services), len(s.failed))
	}
	s.set("web", "172.30.200.1", []string{"node-1"})
	s.must(s.changed())
	s.announcer.fail = func(string) error { return errors.New("broken") }
	s.remove("web")
	_ = s.changed()
	s.set("web", "172.30.200.2", []string{"node-1"})
	_ = s.changed()
	s.announcer.fail = nil
	s.passTo()
	s.must(s.changed())
	s.wants("web", "172.30.200.2?!>node-1")
}
