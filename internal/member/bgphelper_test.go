package member

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"minato/internal/host"
	"minato/internal/loadbalancer/bgp"
)

// TestMain has this program do what `minato bgp-helper` does.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == BGPHelperCommand {
		if err := RunBGPHelper(context.Background(), slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The process that speaks BGP is in the node's network namespace and cgroup, as nobody, and outlives the one that has
// started it. It ends with the last peer, and with the node's cgroup.
func TestSpeaker(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root")
	}
	ns, err := host.CreateNetnsAt(filepath.Join(t.TempDir(), "ns"))
	if err != nil {
		t.Fatal(err)
	}
	m := &Member{cfg: config()}
	m.cfg.Netns, m.cfg.Logger = ns, slog.New(slog.DiscardHandler)
	m.cfg.Cgroup = host.Cgroup{Path: fmt.Sprintf("mt-member-%d", os.Getpid())}
	m.cfg.BGPSocket = filepath.Join(t.TempDir(), "bgp", "node-1.sock")
	t.Cleanup(func() {
		if err := m.cfg.Cgroup.Kill(context.Background()); err != nil {
			t.Error(err)
		}
		if err := m.cfg.Cgroup.Delete(); err != nil {
			t.Error(err)
		}
		if err := host.DeleteNetns(ns); err != nil {
			t.Error(err)
		}
	})
	if err := m.cfg.Cgroup.Create(); err != nil {
		t.Skipf("no cgroups: %v", err)
	}
	if err := m.prepareSpeaker(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Dir(m.cfg.BGPSocket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory of the socket: %v, %v", info, err)
	}

	peer := bgp.State{RouterID: netip.MustParseAddr("172.30.0.11"), Peers: []bgp.Peer{{
		Name: "tor", LocalASN: 64500, PeerASN: 65010, Address: netip.MustParseAddr("172.30.0.98"), Port: 179,
	}}}
	first, stop := startSpeaker(t, m)
	speakers(t, m, 0)
	apply(t, first, peer)
	pid := speakers(t, m, 1)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !bytes.Contains(status, []byte("Uid:\t65534\t65534")) || !bytes.Contains(status, []byte("CapEff:\t0000000000000000")) {
		t.Errorf("it is more than nobody: %v\n%s", err, status)
	}
	var inside string
	if err := ns.Do(func() (err error) { inside, err = os.Readlink("/proc/thread-self/ns/net"); return err }); err != nil {
		t.Fatal(err)
	}
	if is, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || is != inside {
		t.Errorf("it is in %s, want %s, %v", is, inside, err)
	}

	stop()
	second, stop := startSpeaker(t, m)
	apply(t, second, peer)
	if again := speakers(t, m, 1); again != pid {
		t.Errorf("process %d is followed by %d", pid, again)
	}
	apply(t, second, bgp.State{})
	speakers(t, m, 0)
	apply(t, second, peer)
	speakers(t, m, 1)
	stop()
	if err := m.cfg.Cgroup.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	speakers(t, m, 0)
}

// startSpeaker runs a speaker until the test ends or stop is called.
func startSpeaker(t *testing.T, m *Member) (*bgp.Process, func()) {
	t.Helper()
	p, err := m.newSpeaker()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(cancel)
	return p, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func apply(t *testing.T, p *bgp.Process, s bgp.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Apply(ctx, s); err != nil {
		t.Fatalf("%v; sessions %+v", err, p.Sessions())
	}
}

// speakers waits until there are so many processes that speak BGP, and returns the last one's number.
func speakers(t *testing.T, m *Member, want int) (pid int) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	var found []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-ticker.C {
		data, err := os.ReadFile(filepath.Join(m.bgpCgroup().V2(), "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		if found = strings.Fields(string(data)); len(found) == want {
			for _, text := range found {
				if pid, err = strconv.Atoi(text); err != nil {
					t.Fatal(err)
				}
			}
			return pid
		}
	}
	t.Fatalf("processes %v speak BGP, want %d", found, want)
	return 0
}
