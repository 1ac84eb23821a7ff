package oci

import (
	"log/slog"
	"testing"
)

// The limit is raised by whoever puts it back, and by nobody else.
func TestInotifyLimit(t *testing.T) {
	r := pure("/usr/bin/crun")
	r.log = slog.New(slog.DiscardHandler)
	var asked string
	r.cfg.RaiseLimit = func(path string, least int64) error {
		if least != inotifyInstances {
			t.Errorf("raised to %d", least)
		}
		asked = path
		return nil
	}
	r.raiseInotifyLimit()
	if asked != "" {
		t.Error("the limit was raised on a machine that does not need it")
	}
	r.layout.Unified = true
	r.raiseInotifyLimit()
	if asked != "fs/inotify/max_user_instances" {
		t.Errorf("raised %q", asked)
	}
	r.cfg.RaiseLimit = nil
	r.raiseInotifyLimit()
}
