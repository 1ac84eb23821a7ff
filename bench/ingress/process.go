package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The processors: one for the proxies, the other for what loads and answers them.
const (
	loadCPU  = 0
	proxyCPU = 1
)

// process is one that the benchmark has started, with those that it starts.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a command that keeps to a processor; what it says goes to a file.
func start(name, dir string, cpu int, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if err := onCPU(cpu, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is told by its log
		close(p.done)
	}()
	return p, nil
}

// onCPU starts something that keeps to a processor.
func onCPU(cpu int, start func() error) error {
	failed := make(chan error, 1)
	go func() {
		// The thread is not used for anything else afterwards: it ends with the goroutine that has it locked.
		runtime.LockOSThread()
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			failed <- fmt.Errorf("keep to processor %d: %w", cpu, err)
			return
		}
		failed <- start()
	}()
	return <-failed
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// said is the end of what it has written.
func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// usage is what a process and its children have taken.
type usage struct {
	cpu       time.Duration
	rss, anon int64 // bytes
}

// usage sums up a process and its children.
func (p *process) usage() (usage, error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return usage{}, err
	}
	var u usage
	for _, file := range all {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid := filepath.Base(filepath.Dir(file))
		_, rest, ok := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 13 || pid != strconv.Itoa(p.cmd.Process.Pid) && f[1] != strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		for _, ticks := range f[11:13] {
			n, err := strconv.ParseInt(ticks, 10, 64)
			if err != nil {
				return usage{}, err
			}
			u.cpu += time.Duration(n) * 10 * time.Millisecond // USER_HZ is 100 on every architecture that Go has
		}
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			continue
		}
		u.rss += kib(string(status), "VmRSS:")
		u.anon += kib(string(status), "RssAnon:")
	}
	return u, nil
}

func kib(status, name string) int64 {
	_, rest, _ := strings.Cut(status, name)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64) // 0 where it is none
	return n << 10
}
