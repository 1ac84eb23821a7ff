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
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Keeper keeps sockets open after this process has died, by means of an idle
// process that holds them as well. Requests that arrive meanwhile wait in the
// sockets, and a later process that adopts the sockets serves them.
type Keeper struct {
	// Netns is where the sockets are; the idle process works there too.
	Netns Netns
	// Cgroup holds the idle process. Other processes may be in it, but none
	// whose program has the same name.
	Cgroup Cgroup
	// Program is the path that the idle program is written to, on a file system
	// that programs may be executed from.
	Program string
	// Restart is a command, with the path of its program first, that the idle
	// process runs when this process has ended, and again whenever the one that
	// it ran has; after a few milliseconds at first, and five seconds at most if
	// it keeps ending. Empty has it run nothing. A process that ends on purpose
	// calls End first.
	Restart []string
	// Output is the command's standard output and error; nil discards them.
	Output *os.File

	watched int // the process whose end is awaited first, this one if 0
}

// firstKept is the lowest number that a kept socket may have in the idle process.
const firstKept = 3

// Socket names an open socket: its kind, "tcp" or "udp", and its address.
type Socket struct{ Network, Address string }

// String returns the two with a blank between.
func (s Socket) String() string { return s.Network + " " + s.Address }

// endTimeout bounds how long a killed process may take to close its sockets.
const endTimeout = 5 * time.Second

// Keep starts the idle process with the sockets. There must not be one already.
func (k Keeper) Keep(sockets ...syscall.Conn) error {
	if err := k.keep(sockets); err != nil {
		return fmt.Errorf("keep sockets: %w", err)
	}
	return nil
}

func (k Keeper) keep(sockets []syscall.Conn) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if err := os.MkdirAll(filepath.Dir(k.Program), 0o755); err != nil {
		return err
	}
	if err := WriteIdleProgram(k.Program); err != nil {
		return err
	}
	if err := os.MkdirAll(k.Cgroup.V2(), 0o755); err != nil {
		return fmt.Errorf("create cgroup %s: %w", k.Cgroup.Path, err)
	}
	cgroup, err := os.Open(k.Cgroup.V2())
	if err != nil {
		return err
	}
	defer cgroup.Close()
	streams := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	if k.Output != nil {
		streams[1], streams[2] = k.Output.Fd(), k.Output.Fd()
	}
	if len(k.Restart) > 0 {
		watched := k.watched
		if watched == 0 {
			watched = os.Getpid()
		}
		self, err := unix.PidfdOpen(watched, 0)
		if err != nil {
			return fmt.Errorf("watch this process: %w", err)
		}
		defer unix.Close(self)
		streams = append(streams, uintptr(self))
	}
	// Descriptors that this process has inherited without knowing must not get
	// into the idle process.
	if err := unix.CloseRange(firstKept, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark other descriptors to be closed in children: %w", err)
	}
	return withFDs(sockets, func(fds []uintptr) error { return k.start(int(cgroup.Fd()), append(streams, fds...)) })
}

// start runs the idle program with these descriptors.
func (k Keeper) start(cgroup int, files []uintptr) error {
	// os/exec would set the sockets to blocking mode, in this process as well.
	err := k.Netns.Do(func() error {
		pid, err := syscall.ForkExec(k.Program, append([]string{k.Program}, k.Restart...), &syscall.ProcAttr{
			Dir: "/", Files: files, Env: os.Environ(),
			Sys: &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: cgroup},
		})
		if err != nil {
			return err
		}
		// The idle process is a child of this one, which has to reap it.
		go func() {
			if p, err := os.FindProcess(pid); err == nil {
				_, _ = p.Wait()
			}
		}()
		return nil
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", k.Program, err)
	}
	return nil
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

// Adopt returns the sockets that the idle process of an earlier process holds,
// if they are those wanted and no others, however many there are of each.
// Otherwise it ends the idle process, so that the addresses are free, and
// returns none. The idle process goes on holding the sockets that are returned.
func (k Keeper) Adopt(ctx context.Context, want ...Socket) ([]net.Listener, []net.PacketConn, error) {
	keepers, err := k.find()
	defer closeFDs(keepers)
	if err != nil || len(keepers) == 0 {
		return nil, nil, err
	}
	var s adopted
	for _, p := range keepers {
		err = errors.Join(err, s.takeFrom(p))
	}
	if err == nil {
		err = s.check(want)
	}
	if err != nil {
		s.close()
		return nil, nil, errors.Join(fmt.Errorf("adopt sockets: %w", err), end(keepers))
	}
	return s.streams, s.packets, nil
}

// Running tells whether there is an idle process.
func (k Keeper) Running() (bool, error) {
	keepers, err := k.find()
	closeFDs(keepers)
	return len(keepers) > 0, err
}

// End ends the idle process. It is no error if there is none.
func (k Keeper) End() error {
	keepers, err := k.find()
	defer closeFDs(keepers)
	if err != nil {
		return err
	}
	return end(keepers)
}

// Wait returns when the idle process has ended, at once if there is none, or when
// ctx ends.
func (k Keeper) Wait(ctx context.Context) error {
	keepers, err := k.find()
	defer closeFDs(keepers)
	if err != nil {
		return err
	}
	for _, p := range keepers {
		if err := awaitExit(ctx, p.fd); err != nil {
			return err
		}
	}
	return nil
}

// keeper is an idle process: its number, and a pidfd of it.
type keeper struct{ pid, fd int }

// find lists the idle processes of the cgroup.
func (k Keeper) find() ([]keeper, error) {
	pids, err := k.Cgroup.Procs()
	if err != nil {
		return nil, err
	}
	var found []keeper
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has just ended
		}
		// The name is read after the pidfd is open, so both are of the same
		// process.
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || strings.TrimSpace(string(comm)) != filepath.Base(k.Program) {
			unix.Close(fd)
			continue
		}
		found = append(found, keeper{pid, fd})
	}
	return found, nil
}

func closeFDs(keepers []keeper) {
	for _, p := range keepers {
		unix.Close(p.fd)
	}
}

// end kills idle processes and waits until their sockets are closed, which is a
// little after they have left their cgroup.
func end(keepers []keeper) error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	for _, p := range keepers {
		if err := unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the keeper of sockets, process %d: %w", p.pid, err)
		}
	}
	for _, p := range keepers {
		if err := awaitExit(ctx, p.fd); err != nil {
			return fmt.Errorf("wait for the end of the keeper of sockets, process %d: %w", p.pid, err)
		}
	}
	return nil
}

// awaitExit is AwaitExit for a descriptor that is kept.
func awaitExit(ctx context.Context, pidfd int) error {
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if err = AwaitExit(ctx, f); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// AwaitExit returns nil when the process that a pidfd stands for has ended, or an
// error when ctx ends. The descriptor does not block: the wait is in Go's own
// poller and takes no thread.
func AwaitExit(ctx context.Context, pidfd *os.File) error {
	stop := context.AfterFunc(ctx, func() { pidfd.SetReadDeadline(time.Now()) })
	defer stop()
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}

// adopted are sockets that another process has as well.
type adopted struct {
	streams []net.Listener
	packets []net.PacketConn
}

func (s *adopted) takeFrom(k keeper) error {
	files, err := openSockets(k)
	if err != nil {
		return fmt.Errorf("open the sockets of process %d: %w", k.pid, err)
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

// check compares the sockets with those wanted.
func (s *adopted) check(wanted []Socket) error {
	have := map[string]bool{}
	for _, l := range s.streams {
		have[Socket{"tcp", l.Addr().String()}.String()] = true
	}
	for _, c := range s.packets {
		have[Socket{"udp", c.LocalAddr().String()}.String()] = true
	}
	want := map[string]bool{}
	for _, w := range wanted {
		want[w.String()] = true
	}
	if !maps.Equal(have, want) {
		return fmt.Errorf("the idle process holds %v and should hold %v", slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)))
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

// openSockets copies the sockets of an idle process.
func openSockets(k keeper) (files []*os.File, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", k.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n < firstKept {
			continue
		}
		// The idle process may also have a pidfd, which is no socket.
		if kind, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || !strings.HasPrefix(kind, "socket:") {
			continue
		}
		fd, err := unix.PidfdGetfd(k.fd, n, 0)
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
