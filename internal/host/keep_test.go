package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testKeeper(t *testing.T) Keeper {
	t.Helper()
	requireRoot(t)
	k := Keeper{
		Netns: testNetns(t, "mt-host-keep"), Cgroup: Cgroup{Path: "mt-host-keep"},
		Program: filepath.Join(t.TempDir(), "deep", "keeper"),
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := k.Cgroup.Kill(ctx); err != nil {
			t.Error(err)
		}
		if err := k.Cgroup.Delete(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// listenBoth opens a stream socket and two packet sockets.
func listenBoth(t *testing.T, ns Netns, address string) (net.Listener, []net.PacketConn) {
	t.Helper()
	l, err := ns.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := ns.ListenPackets(t.Context(), "udp", address, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		for _, p := range packets {
			p.Close()
		}
	})
	return l, packets
}

// What is sent while only the keeper has the sockets waits for the process that
// adopts them, and the same keeper serves a third process.
func TestKeptSocketsLoseNothing(t *testing.T) {
	const address = "127.0.0.1:5353"
	k := testKeeper(t)
	if l, p, err := k.Adopt(t.Context(), Socket{"tcp", address}, Socket{"udp", address}); len(l)+len(p) > 0 || err != nil {
		t.Fatalf("nothing is kept: %v, %v, %v", l, p, err)
	}
	l, packets := listenBoth(t, k.Netns, address)
	if err := k.Keep(l.(syscall.Conn), packets[0].(syscall.Conn), packets[1].(syscall.Conn)); err != nil {
		t.Fatal(err)
	}
	streams := []net.Listener{l}
	for range 2 {
		for _, l := range streams {
			l.Close()
		}
		for _, p := range packets {
			p.Close()
		}
		stream, err := k.Netns.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		const clients = 20 // so that each of the two sockets has some
		for range clients {
			c, err := k.Netns.DialContext(t.Context(), "udp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		if streams, packets, err = k.Adopt(t.Context(), Socket{"tcp", address}, Socket{"udp", address}); err != nil || len(streams) != 1 || len(packets) != 2 {
			t.Fatalf("adopted %d and %d, %v", len(streams), len(packets), err)
		}
		received := make(chan string, clients)
		for _, p := range packets {
			go func() {
				for buf := make([]byte, 16); ; {
					n, _, err := p.ReadFrom(buf)
					if err != nil {
						return // closed
					}
					received <- string(buf[:n])
				}
			}()
		}
		timeout := time.After(10 * time.Second)
		for i := range clients {
			select {
			case <-received:
			case <-timeout:
				t.Fatalf("%d of %d datagrams", i, clients)
			}
		}
		streams[0].(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
		c, err := streams[0].Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// A keeper of sockets with other addresses is ended, so that its addresses are
// free.
func TestKeptSocketsOfAnotherAddressAreLetGo(t *testing.T) {
	k := testKeeper(t)
	l, packets := listenBoth(t, k.Netns, "127.0.0.1:5353")
	if err := k.Keep(l.(syscall.Conn), packets[0].(syscall.Conn), packets[1].(syscall.Conn)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, p := range packets {
		p.Close()
	}
	if l, p, err := k.Adopt(t.Context(), Socket{"tcp", "127.0.0.2:5353"}, Socket{"udp", "127.0.0.2:5353"}); len(l)+len(p) > 0 || err == nil {
		t.Errorf("adopted %v and %v, %v", l, p, err)
	}
	if pids, err := k.Cgroup.Procs(); len(pids) > 0 || err != nil {
		t.Errorf("the keeper still runs: %v, %v", pids, err)
	}
	if l, err := k.Netns.Listen(t.Context(), "tcp", "127.0.0.1:5353"); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}

// A command is run again and again, each run after the one before, with the
// streams and the environment but none of the sockets.
func TestKeeperRestartsACommand(t *testing.T) {
	k := testKeeper(t)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	t.Setenv("MT_KEEP", "hello")
	watched := filepath.Join(t.TempDir(), "go")
	k.Restart, k.Output = []string{"/bin/sh", "-c", `echo "run $MT_KEEP $(ls /proc/self/fd | wc -w)"; test -e ` + watched + ` || exec sleep 60`}, out
	l, packets := listenBoth(t, k.Netns, "127.0.0.1:5353")
	// This process does not end, so the keeper is made to watch one that does.
	victim := exec.Command("/bin/sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Process.Kill()
	k.watched = victim.Process.Pid
	if err := k.Keep(l.(syscall.Conn), packets[0].(syscall.Conn), packets[1].(syscall.Conn)); err != nil {
		t.Fatal(err)
	}
	runs := func() []string {
		data, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	if got := runs(); got[0] != "" {
		t.Fatalf("the command runs while the process that is watched lives: %q", got)
	}
	victim.Process.Kill()
	victim.Wait()
	poll(t, "the command runs", func() bool { return strings.HasPrefix(runs()[0], "run hello ") })
	// Four descriptors are the streams and the directory that ls reads.
	if got := runs(); len(got) != 1 || got[0] != "run hello 4" {
		t.Errorf("first run: %q", got)
	}
	// The sockets are kept, and may be adopted.
	streams, adoptedPackets, err := k.Adopt(t.Context(), Socket{"tcp", "127.0.0.1:5353"}, Socket{"udp", "127.0.0.1:5353"})
	if err != nil || len(streams) != 1 || len(adoptedPackets) != 2 {
		t.Fatalf("adopted %d and %d, %v", len(streams), len(adoptedPackets), err)
	}
	streams[0].Close()
	for _, p := range adoptedPackets {
		p.Close()
	}
	if err := os.WriteFile(watched, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	poll(t, "the command runs again after each end", func() bool {
		pids, err := k.Cgroup.Procs()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids { // the first run says so before it sleeps, if it does
			if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(comm) == "sleep\n" {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return len(runs()) >= 4
	})
	if err := k.End(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := k.Wait(ctx); err != nil {
		t.Errorf("wait for a keeper that has ended: %v", err)
	}
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
