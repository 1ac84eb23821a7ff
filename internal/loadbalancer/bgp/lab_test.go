package bgp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The tests run in a network namespace of their own, which is the node. Routers are in others, each at the other end of
// a link. All processes are in a PID namespace of which the tests are the first process, so that the kernel ends them with
// the tests, and the links with them.
const (
	roleVariable = "MINATO_BGP_TEST"
	roleNode     = "node"   // runs the tests
	roleHold     = "hold"   // keeps a namespace
	roleHelper   = "helper" // speaks BGP for a Process
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleHold:
		_, _ = io.Copy(io.Discard, os.Stdin)
	case roleHelper:
		os.Exit(runTestHelper())
	case rolePatron:
		os.Exit(runPatron())
	case roleNode:
		if err := mountProc(); err != nil {
			fmt.Fprintln(os.Stderr, "make /proc that of the PID namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	default:
		if os.Geteuid() != 0 {
			os.Exit(m.Run())
		}
		os.Exit(runInNode())
	}
}

// mountProc makes /proc tell of the PID namespace. A fuzzing worker finds that done.
func mountProc() error {
	if os.Getpid() != 1 {
		return nil
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	return syscall.Mount("proc", "/proc", "proc", 0, "")
}

func runInNode() int {
	runtime.LockOSThread() // the tests end when this thread does
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+roleNode)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in a network namespace:", err)
		return 1
	}
	return 0
}

// lab is a router's namespace and the link between it and the node.
type lab struct {
	t   *testing.T
	pid int
	dir string
	// link is the node's end, and there the router's.
	link, there  string
	node4, peer4 netip.Addr
	node6, peer6 netip.Addr
}

var labs atomic.Int32

// newLab makes a namespace for a router that programs are run in, or skips the test.
func newLab(t *testing.T, programs ...string) *lab {
	t.Helper()
	if os.Getenv(roleVariable) != roleNode {
		t.Skip("network namespaces are made by root")
	}
	for _, p := range append(programs, "ip", "nsenter") {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed; `make deps-test` installs it", p)
			}
			t.Skipf("%s is not installed; `make deps-test` installs it", p)
		}
	}
	n := labs.Add(1)
	l := &lab{t: t, dir: t.TempDir(), link: fmt.Sprintf("n%d", n), there: fmt.Sprintf("r%d", n)}
	hold := exec.Command("/proc/self/exe")
	hold.Env = []string{roleVariable + "=" + roleHold}
	hold.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := hold.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = hold.Wait() })
	l.pid = hold.Process.Pid
	l.node4, l.peer4 = netip.AddrFrom4([4]byte{10, 0, byte(n), 1}), netip.AddrFrom4([4]byte{10, 0, byte(n), 2})
	l.node6, l.peer6 = netip.MustParseAddr(fmt.Sprintf("fd00:%x::1", n)), netip.MustParseAddr(fmt.Sprintf("fd00:%x::2", n))
	l.run("ip", "link", "set", "lo", "up")
	l.run("ip", "link", "add", l.link, "type", "veth", "peer", "name", l.there, "netns", strconv.Itoa(l.pid))
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", l.link).Run() })
	for _, a := range []string{l.node4.String() + "/24", l.node6.String() + "/64"} {
		l.run("ip", "address", "add", a, "dev", l.link, "nodad")
	}
	l.run("ip", "link", "set", l.link, "up")
	l.in("ip", "link", "set", "lo", "up")
	for _, a := range []string{l.peer4.String() + "/24", l.peer6.String() + "/64"} {
		l.in("ip", "address", "add", a, "dev", l.there, "nodad")
	}
	l.in("ip", "link", "set", l.there, "up")
	return l
}

// run runs a program on the node, in on the router; both return what it prints.
func (l *lab) run(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (l *lab) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", l.pid), "--", name}, args...)...)
}

func (l *lab) in(name string, args ...string) string {
	l.t.Helper()
	out, err := l.command(name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s on the router: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// serve runs a program on the router until the test ends, or the function that it returns is called.
func (l *lab) serve(name string, args ...string) (stop func()) {
	l.t.Helper()
	cmd := l.command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if l.t.Failed() {
				l.t.Logf("%s said:\n%s", filepath.Base(name), out.String())
			}
		}
	}
	l.t.Cleanup(stop)
	return stop
}

// cut drops all packets at the router, so that nobody is told; mend ends that.
func (l *lab) cut() {
	l.t.Helper()
	l.in("nft", "add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }; add chain inet cut out { type filter hook output priority 0; policy drop; }")
}

func (l *lab) mend() {
	l.t.Helper()
	l.in("nft", "delete table inet cut")
}

// bird is the router BIRD.
type bird struct {
	*lab
	socket string
	stop   func()
}

// bird starts BIRD with a configuration in which words in braces stand for addresses of the lab.
func (l *lab) bird(config string) *bird {
	l.t.Helper()
	b := &bird{lab: l, socket: filepath.Join(l.dir, "bird.ctl")}
	file := filepath.Join(l.dir, "bird.conf")
	base := "log stderr all;\nrouter id {peer4};\nprotocol device {}\nprotocol direct { ipv4; ipv6; }\n"
	l.write(file, base+config)
	b.stop = l.serve("bird", "-f", "-c", file, "-s", b.socket, "-P", filepath.Join(l.dir, "bird.pid"))
	l.until(10*time.Second, "BIRD runs", func() error { _, err := b.try("show status"); return err })
	return b
}

func (l *lab) write(file, text string) {
	l.t.Helper()
	text = strings.NewReplacer("{node4}", l.node4.String(), "{peer4}", l.peer4.String(), "{node6}", l.node6.String(), "{peer6}", l.peer6.String(), "{link}", l.there).Replace(text)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (b *bird) try(command string) (string, error) {
	out, err := exec.Command("birdc", append([]string{"-s", b.socket}, strings.Fields(command)...)...).CombinedOutput()
	return string(out), err
}

// ask asks BIRD something.
func (b *bird) ask(command string) string {
	b.t.Helper()
	out, err := b.try(command)
	if err != nil {
		b.t.Fatalf("birdc %s: %v\n%s", command, err, out)
	}
	return out
}

// until waits until check returns nil.
func (l *lab) until(timeout time.Duration, what string, check func() error) time.Duration {
	l.t.Helper()
	return until(l.t, timeout, what, check)
}

func until(t *testing.T, timeout time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin) > timeout {
			t.Fatalf("%s: not within %v: %v", what, timeout, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// hasRoute waits until BIRD has a route that all the texts are said of.
func (b *bird) hasRoute(prefix string, texts ...string) {
	b.t.Helper()
	b.until(15*time.Second, "route "+prefix, func() error {
		out, err := b.try("show route " + prefix + " all")
		if err != nil {
			return err
		}
		for _, text := range append(texts, prefix) {
			if !strings.Contains(out, text) {
				return fmt.Errorf("no %q in:\n%s", text, out)
			}
		}
		return nil
	})
}

// lacksRoute waits until BIRD has no route to a prefix.
func (b *bird) lacksRoute(prefix string) {
	b.t.Helper()
	b.until(15*time.Second, "no route "+prefix, func() error {
		if out, _ := b.try("show route " + prefix); strings.Contains(out, prefix) {
			return errors.New(out)
		}
		return nil
	})
}

// runSpeaker runs a speaker until the test ends, or the function that it returns is called.
func runSpeaker(t *testing.T, s Speaker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func newTestLocal(t *testing.T) *Local {
	t.Helper()
	l, err := NewLocal(LocalConfig{Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(&logWriter{t: t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// logWriter keeps the log for a test that fails.
type logWriter struct {
	t *testing.T
}

func (w *logWriter) Write(p []byte) (int, error) {
	if os.Getenv("MINATO_BGP_LOG") != "" {
		return os.Stderr.Write(p)
	}
	return len(p), nil
}

func apply(t *testing.T, s Speaker, peers ...Peer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Apply(ctx, State{RouterID: netip.MustParseAddr("10.9.9.9"), Peers: peers}); err != nil {
		t.Fatal(err)
	}
}

// session waits until the session with a peer is as wanted.
func session(t *testing.T, s Speaker, peer string, timeout time.Duration, what string, ok func(Session) bool) Session {
	t.Helper()
	var found Session
	until(t, timeout, "session with "+peer+": "+what, func() error {
		for _, found = range s.Sessions() {
			if found.Peer == peer && ok(found) {
				return nil
			}
		}
		return fmt.Errorf("%+v", s.Sessions())
	})
	return found
}

func isUp(s Session) bool { return s.State == Established }

func route(prefix string) Route { return Route{Prefix: netip.MustParsePrefix(prefix)} }
