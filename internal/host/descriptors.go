package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// RaiseDescriptors lets the process have at least want files open, as far as the
// machine permits, and returns how many it may have. Beyond the hard limit of the
// process this needs CAP_SYS_RESOURCE; the kernel's own bound is fs.nr_open. A
// process that may have fewer than want afterwards is no error.
//
// Where the hard limit suffices, nothing has to be done: Go raises the soft
// limit of its process at the start and gives children the original one.
// Processes that are started after the hard limit was raised inherit the new
// limits; containers have a limit of their own.
func RaiseDescriptors(want uint64) (uint64, error) {
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		return 0, fmt.Errorf("read the limit of open files (RLIMIT_NOFILE): %w", err)
	}
	// Go's runtime makes the soft limit one less than the hard one.
	if have.Cur+1 >= want {
		return have.Cur, nil
	}
	most, err := maxDescriptors()
	if err != nil {
		return have.Cur, err
	}
	target := min(want, most)
	err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: target, Max: max(target, have.Max)})
	if errors.Is(err, unix.EPERM) && have.Cur < have.Max {
		target = have.Max
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: target, Max: have.Max})
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return have.Cur, nil
	case err != nil:
		return have.Cur, fmt.Errorf("raise the limit of open files from %d to %d: %w", have.Cur, target, err)
	}
	return target, nil
}

// maxDescriptors is the most that the kernel gives a process.
func maxDescriptors() (uint64, error) {
	const path = "/proc/sys/fs/nr_open"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read the kernel's limit of open files: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the kernel's limit of open files: %s: %w", path, err)
	}
	return n, nil
}
