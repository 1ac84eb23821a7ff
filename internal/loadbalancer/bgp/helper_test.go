package bgp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minato/internal/host"
	"minato/internal/host/helper"
)

const (
	rolePatron    = "patron" // has a Process, until it is killed
	socketVar     = "MINATO_BGP_TEST_SOCKET"
	stateVariable = "MINATO_BGP_TEST_STATE"
	testBuild     = "test"
)

// runTestHelper is what a Process of the tests starts.
func runTestHelper() int {
	l, err := helper.Listener()
	var h *Helper
	if err == nil {
		h, err = NewHelper(HelperConfig{Listener: l, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Build: testBuild, Orphaned: 30 * time.Second})
	}
	if err == nil {
		err = h.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func processConfig(socket string, log *slog.Logger) ProcessConfig {
	return ProcessConfig{
		Logger: log, Socket: socket, Build: testBuild,
		Program: host.Confined{Path: "/proc/self/exe", Env: []string{roleVariable + "=" + roleHelper}, Output: os.Stderr},
	}
}

// runPatron has a Process reach a State, says so, and waits to be killed.
func runPatron() int {
	p, err := NewProcess(processConfig(os.Getenv(socketVar), slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	var s State
	if err := json.Unmarshal([]byte(os.Getenv(stateVariable)), &s); err != nil {
		panic(err)
	}
	go func() { _ = p.Run(context.Background()) }()
	if err := p.Apply(context.Background(), s); err != nil {
		panic(err)
	}
	for len(p.Sessions()) == 0 || p.Sessions()[0].State != Established {
		<-p.Changed()
	}
	fmt.Println("up")
	select {}
}

func newTestProcess(t *testing.T, socket string, change func(*ProcessConfig)) *Process {
	t.Helper()
	c := processConfig(socket, testLogger(t))
	if change != nil {
		change(&c)
	}
	p, err := NewProcess(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// runProcess runs a Process until the test ends, and then its helper ends too.
func runProcess(t *testing.T, p *Process) {
	t.Helper()
	stop := runSpeaker(t, p)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Apply(ctx, State{}); err != nil {
			t.Errorf("say farewell: %v", err)
		}
		stop()
	})
}

// process is a Process with a helper of its own, which runs until the test ends. The library has settings that are the
// whole process's, so Locals of tests that run side by side would be in each other's way.
func (l *lab) process() *Process {
	l.t.Helper()
	p := newTestProcess(l.t, filepath.Join(l.dir, "bgp.sock"), nil)
	runProcess(l.t, p)
	return p
}

// pid is that of the Helper.
func (p *Process) pid(t *testing.T) int {
	t.Helper()
	var l *link
	until(t, 10*time.Second, "there is a helper", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if l = p.link; l == nil {
			return p.err
		}
		return nil
	})
	return l.helper.PID
}

// A helper that is killed is started again and told everything; with graceful restart the peer notices nothing.
func TestHelperIsKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bird")
	b := l.bird("protocol bgp node { local as 65010; neighbor {node4} as 64500; password \"right\"; ipv4 { import all; export none; }; }\n")
	s := l.process()
	p := l.peer4Of("bird", route("192.0.2.1/32"))
	p.PeerASN, p.Password, p.GracefulRestart = 65010, "right", true
	apply(t, s, p)
	first := session(t, s, "bird", 20*time.Second, "up", isUp)
	b.hasRoute("192.0.2.1/32")
	pid := s.pid(t)
	checkConfined(t, pid)

	end := b.watchRoute("192.0.2.1/32")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	session(t, s, "bird", 20*time.Second, "up again", func(x Session) bool { return isUp(x) && x.Since.After(first.Since) })
	p.Routes = append(p.Routes, route("192.0.2.2/32"))
	apply(t, s, p)
	b.hasRoute("192.0.2.2/32")
	if missing, looks := end(); missing != "" || looks < 20 {
		t.Errorf("looked %d times; the route was away %s", looks, missing)
	}

	// Without peers there is no helper, and nothing is left at the router.
	pid = s.pid(t)
	apply(t, s)
	b.lacksRoute("192.0.2.1/32")
	until(t, 10*time.Second, "the helper has ended", func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		return nil
	})
	apply(t, s, p)
	session(t, s, "bird", 20*time.Second, "up", isUp)
	b.hasRoute("192.0.2.2/32")
}

// checkConfined checks that a process has no rights.
func checkConfined(t *testing.T, pid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
}

// A server that is killed without warning leaves its helper, which the next server takes over with all of its sessions.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bird")
	b := l.bird("protocol bgp node { local as 65010; neighbor {node4} as 64500; ipv4 { import all; export none; }; }\n")
	p := l.peer4Of("bird", route("192.0.2.1/32"))
	p.PeerASN = 65010
	state := State{RouterID: ip("10.9.9.9"), Peers: []Peer{p}}
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(l.dir, "bgp.sock")
	patron := exec.Command("/proc/self/exe")
	patron.Env = []string{roleVariable + "=" + rolePatron, socketVar + "=" + socket, stateVariable + "=" + string(text)}
	patron.Stderr = os.Stderr
	out, err := patron.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := patron.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = patron.Process.Kill(); _ = patron.Wait() })
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	b.hasRoute("192.0.2.1/32")
	end := b.watchRoute("192.0.2.1/32")
	if err := patron.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = patron.Wait()

	s := newTestProcess(t, socket, func(c *ProcessConfig) { c.Program.Path = "/bin/false" }) // none is to be started
	runProcess(t, s)
	before := session(t, s, "bird", 10*time.Second, "is taken over", isUp)
	p.Routes = append(p.Routes, route("192.0.2.2/32"))
	apply(t, s, p)
	b.hasRoute("192.0.2.2/32")
	if after := session(t, s, "bird", time.Second, "up", isUp); !after.Since.Equal(before.Since) {
		t.Errorf("the session was reset")
	}
	if missing, looks := end(); missing != "" || looks < 2 {
		t.Errorf("looked %d times; the route was away %s", looks, missing)
	}
	apply(t, s)
	b.lacksRoute("192.0.2.1/32")
}

// runHelper runs a Helper in this process.
func runHelper(t *testing.T, socket, build string, orphaned time.Duration) <-chan error {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHelper(HelperConfig{Listener: listener, Logger: testLogger(t), Build: build, Orphaned: orphaned})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	return ended
}

// unreachable is a peer that there is no session with: nothing listens there.
func unreachable(name string) Peer {
	return Peer{Name: name, LocalASN: 64500, PeerASN: 64501, Address: ip("127.0.0.1"), Port: 1, Routes: []Route{route("192.0.2.1/32")}}
}

func awaitEnd(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the helper ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the helper has not ended")
	}
}

func TestProcessTakesOver(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ended := runHelper(t, socket, testBuild, time.Minute)
	s := newTestProcess(t, socket, func(c *ProcessConfig) { c.Program.Path = "/bin/false" })
	stop := runSpeaker(t, s)
	apply(t, s, unreachable("one"), Peer{Name: "two", LocalASN: 1, PeerASN: 2, Interface: "nowhere0", Port: 179})
	x := session(t, s, "one", 10*time.Second, "told why not", func(x Session) bool { return x.Error != "" })
	if x.Address != "127.0.0.1:1" || x.State == Established {
		t.Errorf("session is %+v", x)
	}
	if x := session(t, s, "two", 5*time.Second, "told why not", func(x Session) bool { return x.Error != "" }); x.Address != "nowhere0" {
		t.Errorf("session is %+v", x)
	}
	// A Process that ends leaves the helper to the next one, whose farewell ends it.
	stop()
	select {
	case err := <-ended:
		t.Fatalf("the helper has ended with its Process: %v", err)
	default:
	}
	s = newTestProcess(t, socket, func(c *ProcessConfig) { c.Program.Path = "/bin/false" })
	runSpeaker(t, s)
	session(t, s, "one", 10*time.Second, "is taken over", func(x Session) bool { return x.Address == "127.0.0.1:1" })
	apply(t, s)
	awaitEnd(t, ended)
	if got := s.Sessions(); len(got) != 0 {
		t.Errorf("sessions are %+v, want none", got)
	}
}

// A helper of another version is ended. The next one can't be started here, which the sessions tell.
func TestProcessReplacesOtherVersion(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ended := runHelper(t, socket, "older", time.Minute)
	s := newTestProcess(t, socket, func(c *ProcessConfig) { c.Program.Path = "/bin/false" })
	runSpeaker(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Apply(ctx, State{RouterID: ip("1.1.1.1"), Peers: []Peer{unreachable("one")}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Apply returned %v although there is no helper", err)
	}
	awaitEnd(t, ended)
	session(t, s, "one", 10*time.Second, "told that there is no helper", func(x Session) bool {
		return x.State == "Idle" && strings.Contains(x.Error, "does not run")
	})
}

func TestHelperEndsAlone(t *testing.T) {
	awaitEnd(t, runHelper(t, filepath.Join(t.TempDir(), "s"), testBuild, 20*time.Millisecond))
}

// The latest Process is the right one, and what is no message ends the connection alone.
func TestHelperServesTheLatest(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	runHelper(t, socket, testBuild, time.Minute)
	dial := func() *link {
		t.Helper()
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		l, err := newLink(t.Context(), newConn(c), testBuild, newChanges())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		return l
	}
	garbage, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer garbage.Close()
	if _, err := garbage.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = garbage.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := garbage.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("garbage is answered: %d bytes, %v", n, err)
	}
	first := dial()
	second := dial()
	select {
	case <-first.gone:
	case <-time.After(10 * time.Second):
		t.Error("the earlier connection goes on")
	}
	if m, err := second.ask(t.Context(), message{List: &struct{}{}}); err != nil || m.Sessions == nil {
		t.Errorf("the later connection got %+v, %v", m, err)
	}
	bad := State{RouterID: ip("1.1.1.1"), Peers: []Peer{{Name: "x"}}}
	if _, err := second.ask(t.Context(), message{Apply: &bad}); err == nil {
		t.Error("an invalid state was taken")
	}
}
