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
	"syscall"
	"time"
)

// ErrRunning says that a server of this cluster runs already.
var ErrRunning = errors.New("the cluster is running already")

// acquireLock makes this process the cluster's server until the file is closed.
func acquireLock(p Paths) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(p.Lock()), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p.Lock(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("cluster %q: %w", p.Name, ErrRunning)
		}
		return nil, fmt.Errorf("lock %s: %w", p.Lock(), err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
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
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0, nil // nobody holds it
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", p.Lock(), err)
	}
	return pid, nil
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
			return fmt.Errorf("the server (process %d) of cluster %q goes on: %w", pid, p.Name, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
