package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A record is written and read whatever lies in its place, and what a link there leads to
// stays as it is.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	victim, record := filepath.Join(dir, "victim"), filepath.Join(dir, "record")
	if _, err := ReadRecord(record); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{record, record + ".new"} {
		if err := os.Symlink(victim, link); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadRecord(record); err == nil {
		t.Errorf("what a link leads to is read: %s", got)
	}
	if err := WriteRecord(record, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := WriteRecord(record, []byte("next")); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadRecord(record); err != nil || string(got) != "next" {
		t.Errorf("the record is %q, %v", got, err)
	}
	if info, err := os.Lstat(record); err != nil || info.Mode() != 0o600 {
		t.Errorf("the record has the mode %v, %v", info.Mode(), err)
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "mine" {
		t.Errorf("what the link led to is %q now, %v", got, err)
	}
	if err := errors.Join(os.Remove(record), unix.Mkfifo(record, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(record); err == nil {
		t.Error("a FIFO is read")
	}
}
