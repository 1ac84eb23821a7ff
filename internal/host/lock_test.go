package host

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held := func(want bool) {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if is, err := LockHeld(f); err != nil || is != want {
			t.Errorf("held: %t, %v; want %t", is, err, want)
		}
	}
	lock, err := LockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	held(true)
	if _, err := LockFile(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	lock.Close()
	held(false)
}

// A process that asks about the lock all the time does not keep others from
// taking it.
func TestAskingForALockDoesNotTakeIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if f, err := os.Open(path); err == nil {
					LockHeld(f)
					f.Close()
				}
			}
		})
	}
	for range 1000 {
		lock, err := LockFile(path)
		if err != nil {
			t.Error(err)
			break
		}
		lock.Close()
	}
	close(stop)
	asking.Wait()
}
