package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnlyWhatThisStartPrintedIsShown(t *testing.T) {
	log := filepath.Join(t.TempDir(), "minato.log")
	stale := "an earlier server's line\n"
	if err := os.WriteFile(log, []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	from, failed := int64(len(stale)), errors.New("port 53 is in use")
	if err := withLog(failed, log, from); err != failed {
		t.Errorf("without a line: %q", err)
	}
	if err := os.WriteFile(log, []byte(stale+"one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := withLog(failed, log, from); err.Error() != "port 53 is in use\nwhat the server printed last:\n  one\n  two" {
		t.Errorf("with two lines: %q", err)
	}
	if err := withLog(ErrInterrupted, log, from); err != ErrInterrupted {
		t.Errorf("interrupted: %q", err)
	}
	if err := os.WriteFile(log, []byte(stale+strings.Repeat("line\n", 50000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := tail(log, from, 3); got != "  line\n  line\n  line" {
		t.Errorf("of many lines: %q", got)
	}
}
