package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"minato/internal/host"
)

// Process runs inside a namespace and a cgroup of a world.
type Process struct {
	Name string
	cmd  *exec.Cmd
	done chan struct{}
	log  *tail
}

// stopGrace is what a process has to end in by itself.
const stopGrace = 5 * time.Second

// start runs a command in a namespace and a cgroup of the world. The process
// ends with this one.
func (w *World) start(name string, ns host.Netns, cgroup host.Cgroup, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{}), log: &tail{}}
	if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	cmd.Stderr = p.log
	cmd.Args = append([]string{"nsenter", "--net=" + ns.Path, "--", cmd.Path}, cmd.Args[1:]...)
	var err error
	if cmd.Path, err = exec.LookPath("nsenter"); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	group, err := os.Open(cgroup.V2())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer group.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	started := make(chan error)
	go func() {
		// The signal comes when the thread that started the process ends, so that one has to last.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is told by its output
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	w.processes = append(w.processes, p)
	return p, nil
}

// Stop ends the process and returns when it is gone. It may be called again.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
		return
	case <-time.After(stopGrace):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Pause keeps the process from running until Resume.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// ended is an error if the process has ended.
func (p *Process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %s; the end of its output:\n%s", p.Name, p.cmd.ProcessState, p.log)
	default:
		return nil
	}
}

// CPU is the time that the process and its children have had of the processors.
func (p *Process) CPU() time.Duration { return CPUOf(p.cmd.Process.Pid) }

// CPUOf is the time that a process and those of its children that have ended have had of the processors; 0 if there is no
// such process.
func CPUOf(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The fields after the command's name, which ends with the last ")".
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	ticks := 0
	for _, text := range f[11:15] { // utime, stime and the same of children, a hundred to the second
		n, _ := strconv.Atoi(text)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BusyTime is the time that all of the machine's processors together have worked since its start, without the time that a
// hypervisor gave to others; 0 if the kernel does not tell.
func BusyTime() time.Duration {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	ticks := 0
	for i, text := range strings.Fields(string(first)) { // "cpu", user, nice, system, idle, iowait, irq, softirq (proc_stat(5))
		switch i {
		case 1, 2, 3, 6, 7:
			n, _ := strconv.Atoi(text)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// ResidentOf is a process's resident memory in bytes, without pages of files; 0 if there is no such process.
func ResidentOf(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	end []byte
}

const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	if over := len(t.end) - tailSize; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.end)
}
