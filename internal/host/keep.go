package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Keeper keeps sockets open beyond this process's death, by an idle process
// that has them too. What arrives while nobody reads waits in the sockets, and a
// successor that adopts them goes on where this process stopped.
type Keeper struct {
	// Netns is where the sockets are; the idle process works there too.
	Netns Netns
	// Cgroup is the idle process's own. Whoever kills what is in it ends the
	// keeping.
	Cgroup Cgroup
	// Program is the path that the idle program is written to, on a file system
	// that programs may be executed from.
	Program string
}

// firstKept is the number that the first kept socket has in the idle process.
const firstKept = 3

// endTimeout bounds how long a killed process may take to close its sockets.
const endTimeout = 5 * time.Second

// Keep starts the idle process with the sockets. It must not keep any yet.
func (k Keeper) Keep(sockets ...syscall.Conn) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("keep sockets: %w", err)
	}
	defer null.Close()
	if err := os.MkdirAll(filepath.Dir(k.Program), 0o755); err != nil {
		return fmt.Errorf("keep sockets: %w", err)
	}
	if err := WriteIdleProgram(k.Program); err != nil {
		return fmt.Errorf("keep sockets: %w", err)
	}
	if err := os.MkdirAll(k.Cgroup.V2(), 0o755); err != nil {
		return fmt.Errorf("keep sockets: create cgroup %s: %w", k.Cgroup.Path, err)
	}
	cgroup, err := os.Open(k.Cgroup.V2())
	if err != nil {
		return fmt.Errorf("keep sockets: %w", err)
	}
	defer cgroup.Close()
	// What this process inherited without knowing must not be kept as well.
	if err := unix.CloseRange(firstKept, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep sockets: close others in children: %w", err)
	}
	files := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	return withFDs(sockets, func(fds []uintptr) error {
		// Not by os/exec, which would make the sockets block, here as well as there.
		err := k.Netns.Do(func() error {
			pid, err := syscall.ForkExec(k.Program, []string{k.Program}, &syscall.ProcAttr{
				Dir: "/", Files: append(files, fds...),
				Sys: &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())},
			})
			if err != nil {
				return err
			}
			// It is our child for as long as we live, and wants to be reaped.
			go func() {
				if p, err := os.FindProcess(pid); err == nil {
					_, _ = p.Wait()
				}
			}()
			return nil
		})
		if err != nil {
			return fmt.Errorf("keep sockets: start %s: %w", k.Program, err)
		}
		return nil
	})
}

// withFDs calls fn with the sockets' numbers, which stay valid meanwhile.
func withFDs(sockets []syscall.Conn, fn func(fds []uintptr) error) error {
	var next func(i int, fds []uintptr) error
	next = func(i int, fds []uintptr) error {
		if i == len(sockets) {
			return fn(fds)
		}
		raw, err := sockets[i].SyscallConn()
		if err != nil {
			return err
		}
		var inner error
		if err := raw.Control(func(fd uintptr) { inner = next(i+1, append(fds, fd)) }); err != nil {
			return err
		}
		return inner
	}
	return next(0, nil)
}

// Adopt returns the sockets that are kept since an earlier process's time, if
// there are some of both kinds at each of the addresses and none elsewhere.
// Otherwise it ends the keeping, so that the addresses are free, and returns
// none. Those it returns are kept on.
func (k Keeper) Adopt(ctx context.Context, addresses ...string) ([]net.Listener, []net.PacketConn, error) {
	pids, err := k.Cgroup.Procs()
	if err != nil || len(pids) == 0 {
		return nil, nil, err
	}
	var s adopted
	for _, pid := range pids {
		err = errors.Join(err, s.takeFrom(pid))
	}
	if err == nil {
		err = s.check(addresses)
	}
	if err != nil {
		s.close()
		return nil, nil, errors.Join(fmt.Errorf("adopt sockets: %w", err), k.end(ctx, pids))
	}
	return s.streams, s.packets, nil
}

// end kills the idle process and waits until its sockets are closed, which is a
// little after it has left its cgroup.
func (k Keeper) end(ctx context.Context, pids []int) error {
	var processes []unix.PollFd
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			defer unix.Close(fd)
			processes = append(processes, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if err := k.Cgroup.Kill(ctx); err != nil {
		return err
	}
	for i := range processes {
		for {
			_, err := unix.Poll(processes[i:i+1], int(endTimeout.Milliseconds()))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return fmt.Errorf("wait for the end of the keeper of sockets: %w", err)
			}
			break
		}
	}
	return nil
}

// adopted are sockets that another process has as well.
type adopted struct {
	streams []net.Listener
	packets []net.PacketConn
}

func (s *adopted) takeFrom(pid int) error {
	files, err := openSockets(pid)
	if err != nil {
		return fmt.Errorf("open those of process %d: %w", pid, err)
	}
	for _, f := range files {
		err = errors.Join(err, s.add(f), f.Close())
	}
	return err
}

func (s *adopted) add(f *os.File) error {
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if kind == unix.SOCK_STREAM {
		l, err := net.FileListener(f)
		if err == nil {
			s.streams = append(s.streams, l)
		}
		return err
	}
	c, err := net.FilePacketConn(f)
	if err == nil {
		s.packets = append(s.packets, c)
	}
	return err
}

// check compares where the sockets are with where they should be.
func (s *adopted) check(addresses []string) error {
	have := map[string]bool{}
	for _, l := range s.streams {
		have["tcp "+l.Addr().String()] = true
	}
	for _, c := range s.packets {
		have["udp "+c.LocalAddr().String()] = true
	}
	want := map[string]bool{}
	for _, a := range addresses {
		want["tcp "+a], want["udp "+a] = true, true
	}
	if !maps.Equal(have, want) {
		return fmt.Errorf("they are %v and should be %v", slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)))
	}
	return nil
}

func (s *adopted) close() {
	for _, l := range s.streams {
		l.Close()
	}
	for _, c := range s.packets {
		c.Close()
	}
}

// openSockets copies the sockets of another process.
func openSockets(pid int) (files []*os.File, err error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(process)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n < firstKept {
			continue
		}
		fd, err := unix.PidfdGetfd(process, n, 0)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, err
		}
		files = append(files, os.NewFile(uintptr(fd), "socket "+e.Name()))
	}
	return files, nil
}
