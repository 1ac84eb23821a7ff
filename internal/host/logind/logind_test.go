package logind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// startBus runs D-Bus' own daemon in a directory, with nobody else on it.
func startBus(t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	dir := t.TempDir()
	address = "unix:path=" + filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<busconfig><type>system</type><listen>%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`, address)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", filepath.Join(dir, "bus"))
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("dbus-daemon does not listen after 30 s: %v", err)
		}
	}
}

// login1 answers as logind does, by the part of its interface that matters here.
type login1 struct {
	t    *testing.T
	conn *dbus.Conn
	// asked has the words of each lock, and locks both ends of its pipe: one to read, and one that is a lock for as
	// long as it, or a copy of it, is open.
	asked chan [4]string
	locks chan [2]*os.File
}

func (l *login1) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	l.asked <- [4]string{what, who, why, mode}
	l.locks <- [2]*os.File{ours, theirs}
	return dbus.UnixFD(theirs.Fd()), nil
}

func (l *login1) Get(_, name string) (dbus.Variant, *dbus.Error) {
	if name != "InhibitDelayMaxUSec" {
		return dbus.Variant{}, dbus.MakeFailedError(errors.New("no such property"))
	}
	return dbus.MakeVariant(uint64(7_000_000)), nil
}

func startLogin1(t *testing.T, address string) *login1 {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	l := &login1{t: t, conn: conn, asked: make(chan [4]string, 4), locks: make(chan [2]*os.File, 4)}
	if err := conn.Export(l, path, manager); err != nil {
		t.Fatal(err)
	}
	if err := conn.Export(l, path, "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(service, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *login1) prepare(begins bool) {
	l.t.Helper()
	if err := l.conn.Emit(path, manager+".PrepareForShutdown", begins); err != nil {
		l.t.Fatal(err)
	}
}

func receive[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("not within 30 s: %s", what)
	}
	return v
}

// lock is the end to read of the lock that somebody has now got.
func (l *login1) lock() *os.File {
	l.t.Helper()
	ends := receive(l.t, l.locks, "the lock's other end")
	ends[1].Close()
	l.t.Cleanup(func() { ends[0].Close() })
	return ends[0]
}

// released tells whether nobody has the lock any more.
func released(lock *os.File, within time.Duration) bool {
	lock.SetReadDeadline(time.Now().Add(within))
	_, err := lock.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestShutdownIsHeldBack(t *testing.T) {
	address := startBus(t)
	l := startLogin1(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held, down, ended := make(chan time.Duration, 1), make(chan time.Duration, 4), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{
			Who: "minato", Why: "Pods end", Address: address,
			Held: func(d time.Duration) { held <- d }, ShuttingDown: func(d time.Duration) { down <- d },
		})
	}()
	if got := receive(t, held, "a lock"); got != 7*time.Second {
		t.Errorf("held for at most %s", got)
	}
	if got, want := receive(t, l.asked, "the call"), [4]string{"shutdown", "minato", "Pods end", "delay"}; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	lock := l.lock()
	l.prepare(false) // one that was called off before it began
	l.prepare(true)
	l.prepare(true)
	if got := receive(t, down, "the shutdown"); got != 7*time.Second {
		t.Errorf("told of %s", got)
	}
	cancel()
	if err := receive(t, ended, "the end"); err != nil {
		t.Error(err)
	}
	if len(down) > 0 {
		t.Error("one shutdown was told of twice")
	}
	runtime.GC()
	if released(lock, 50*time.Millisecond) {
		t.Error("the lock was given back before the process ended")
	}
}

func TestLockIsGivenBack(t *testing.T) {
	address := startBus(t)
	l := startLogin1(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held, ended := make(chan time.Duration, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Address: address, Held: func(d time.Duration) { held <- d }})
	}()
	receive(t, held, "a lock")
	cancel()
	if err := receive(t, ended, "the end"); err != nil {
		t.Error(err)
	}
	if !released(l.lock(), 30*time.Second) {
		t.Error("the lock is still held after Run has ended")
	}
}

// A logind that begins again has forgotten its locks.
func TestLogindThatBeginsAgain(t *testing.T) {
	address := startBus(t)
	l := startLogin1(t, address)
	held, ended := make(chan time.Duration, 1), make(chan error, 1)
	go func() {
		ended <- Run(t.Context(), Config{Address: address, Held: func(d time.Duration) { held <- d }})
	}()
	receive(t, held, "a lock")
	l.conn.Close()
	if err := receive(t, ended, "an error"); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("got %v", err)
	}
}

func TestMachineWithoutLogind(t *testing.T) {
	if err := Run(t.Context(), Config{Address: "unix:path=" + filepath.Join(t.TempDir(), "bus")}); !errors.Is(err, ErrNone) {
		t.Errorf("without a bus: %v", err)
	}
	if err := Run(t.Context(), Config{Address: startBus(t)}); !errors.Is(err, ErrNone) {
		t.Errorf("without logind: %v", err)
	}
}
