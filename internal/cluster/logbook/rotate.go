package logbook

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Bounds of a log.
const (
	// Limit is how long a log gets, in bytes, before it is rotated.
	Limit = 16 << 20
	// Kept is how many older files are kept beside it.
	Kept = 3
)

// olderFile is the name of the older file number i; 1 is the youngest of them.
func olderFile(path string, i int) string { return fmt.Sprintf("%s.%d", path, i) }

// Files lists the files of a log that exist, the oldest first.
func Files(path string) []string {
	var out []string
	for i := Kept; i > 0; i-- {
		if _, err := os.Stat(olderFile(path, i)); err == nil {
			out = append(out, olderFile(path, i))
		}
	}
	if _, err := os.Stat(path); err == nil {
		out = append(out, path)
	}
	return out
}

// Rotate moves what is in a log that has grown beyond limit bytes into an older
// file, and drops the oldest one. Several processes have the log open, some of
// them for longer than the server runs, so the file itself stays: it is copied and
// then emptied, and whoever appends to it goes on at its new end. It is left for
// the next call while somebody opens the files to read them.
func Rotate(path string, limit int64) (rotated bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= limit {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	from, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, fmt.Errorf("rotate the log: %w", err)
	}
	defer from.Close()
	unlock, err := lock(from, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil // somebody looks at the files just now
	}
	if err != nil {
		return false, fmt.Errorf("rotate the log: %w", err)
	}
	defer unlock()
	to, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // which only its owner can read
	if err != nil {
		return false, fmt.Errorf("rotate the log: %w", err)
	}
	defer os.Remove(to.Name())
	defer to.Close()
	for i := Kept - 1; i > 0; i-- {
		if err := os.Rename(olderFile(path, i), olderFile(path, i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("rotate the log: %w", err)
		}
	}
	if _, err = io.Copy(to, from); err == nil {
		err = os.Rename(to.Name(), olderFile(path, 1))
	}
	if err == nil {
		// What was written meanwhile; only lines that come between this and the
		// next call are lost.
		_, err = io.Copy(to, from)
	}
	if err == nil {
		err = from.Truncate(0)
	}
	if err != nil {
		return false, fmt.Errorf("rotate the log: %w", err)
	}
	return true, nil
}

// lock has the files of a log stay as they are, or lets one change them.
func lock(current *os.File, how int) (unlock func(), err error) {
	for {
		err := syscall.Flock(int(current.Fd()), how)
		if err == nil {
			return func() { syscall.Flock(int(current.Fd()), syscall.LOCK_UN) }, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, err
		}
	}
}
