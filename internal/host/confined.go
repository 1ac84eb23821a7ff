package host

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Confined is a program that works in a network namespace and has no rights there: it runs as nobody, without capabilities
// or a way to get any, and without this process's environment and descriptors.
type Confined struct {
	// Path is the program; "/proc/self/exe" is this one.
	Path string
	Args []string
	Env  []string
	// Netns is where it works.
	Netns Netns
	// Cgroup, where it has a path, holds the process; it exists.
	Cgroup Cgroup
	// Output takes what it writes; nil discards that.
	Output *os.File
}

// nobody is the user and the group that own nothing, on every distribution.
const nobody = 65534

// Start starts the program, which finds the files as its descriptors from 3 on. The caller waits for its end. A process
// that isn't root can't give up what it is: then the program runs as the same user.
func (c Confined) Start(files ...*os.File) (*exec.Cmd, error) {
	cmd, err := c.start(files)
	if err != nil {
		return nil, fmt.Errorf("start %s in network namespace %s: %w", c.Path, c.Netns.Name, err)
	}
	return cmd, nil
}

func (c Confined) start(files []*os.File) (*exec.Cmd, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = append([]string{}, c.Env...), "/", files
	if c.Output != nil {
		cmd.Stdout, cmd.Stderr = c.Output, c.Output
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if c.Cgroup.Path != "" {
		dir, err := os.Open(c.Cgroup.V2())
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	// Descriptors that this process has inherited without knowing must not get into the program.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("mark other descriptors to be closed in children: %w", err)
	}
	err := OnThrowAwayThread(func() error {
		// A process starts with what the thread has that forks it, and this can't be taken back.
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("give up new privileges: %w", err)
		}
		return c.Netns.Do(cmd.Start)
	})
	if err != nil {
		return nil, err
	}
	return cmd, nil
}
