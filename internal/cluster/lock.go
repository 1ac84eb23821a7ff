package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"minato/internal/host"
)

// ErrRunning says that a server of this cluster runs already.
var ErrRunning = errors.New("the cluster is running already")

// acquireLock makes this process the cluster's server until the file is closed.
func acquireLock(p Paths) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(p.Lock()), 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(filepath.Dir(p.Lock()), 0o700); err != nil { // an earlier version made it readable by everybody
		return nil, err
	}
	f, err := host.LockFile(p.Lock())
	if errors.Is(err, host.ErrLocked) {
		return nil, fmt.Errorf("cluster %q: %w", p.Name, ErrRunning)
	}
	if err != nil {
		return nil, err
	}
	// A reader finds an empty file for a moment, or a whole number that ends with a
	// newline.
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// serverPID returns the process that holds the lock, 0 where none does.
func serverPID(p Paths) (int, error) {
	f, err := os.Open(p.Lock())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for tries := 0; ; tries++ {
		held, err := host.LockHeld(f)
		if err != nil || !held {
			return 0, err
		}
		data, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
		if err != nil {
			return 0, err
		}
		if text, whole := strings.CutSuffix(string(data), "\n"); whole {
			pid, err := strconv.Atoi(text)
			if err != nil {
				return 0, fmt.Errorf("read %s: %w", p.Lock(), err)
			}
			return pid, nil
		}
		if tries == 1000 {
			return 0, fmt.Errorf("%s is locked, and does not say by which process", p.Lock())
		}
		time.Sleep(time.Millisecond) // its owner is about to write it
	}
}

// waitStopped waits until no server holds the lock.
func waitStopped(ctx context.Context, p Paths) error {
	for {
		pid, err := serverPID(p)
		if err != nil || pid == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server (process %d) of cluster %q has not ended: %w", pid, p.Name, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
