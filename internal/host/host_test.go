package host

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

func testNetns(t *testing.T, name string) Netns {
	t.Helper()
	ns, err := CreateNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 { // twice is fine
			if err := DeleteNetns(ns); err != nil {
				t.Error(err)
			}
		}
		if ns.Exists() {
			t.Errorf("namespace %s is still there", name)
		}
	})
	return ns
}

func testNet(t *testing.T, ns Netns) *Net {
	t.Helper()
	n, err := OpenNet(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// Two nodes on a bridge in a third namespace reach each other by address.
func TestNodesOnBridgeTalk(t *testing.T) {
	requireRoot(t)
	lan, a, b := testNetns(t, "mt-host-lan"), testNetns(t, "mt-host-a"), testNetns(t, "mt-host-b")
	hub := testNet(t, lan)
	if err := hub.EnsureBridge("br", 1400, netip.MustParsePrefix("172.30.0.1/16")); err != nil {
		t.Fatal(err)
	}
	bridge, _, err := hub.Link("br")
	if err != nil {
		t.Fatal(err)
	}
	for i, ns := range []Netns{a, b} {
		port := []string{"port-a", "port-b"}[i]
		for range 2 { // the second time finds it there
			// A port whose MAC is as low as can be: bridges like to take that one over.
			if err := hub.AddVeth(port, "br", net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}, VethEnd{Netns: ns, Name: "eth0"}, 1400); err != nil {
				t.Fatal(err)
			}
			if l, _, err := hub.Link("br"); err != nil || l.MAC.String() != bridge.MAC.String() {
				t.Errorf("with %s the bridge's MAC is %s, %v; was %s", port, l.MAC, err, bridge.MAC)
			}
		}
		n := testNet(t, ns)
		if err := n.SetUp("eth0", ""); err != nil {
			t.Fatal(err)
		}
		if err := n.AddAddress("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, 0, byte(11 + i)}), 16)); err != nil {
			t.Fatal(err)
		}
		l, ok, err := n.Link("eth0")
		if err != nil || !ok || l.MTU != 1400 {
			t.Fatalf("eth0 in %s = %+v, %v, %v; want MTU 1400", ns.Name, l, ok, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	l, err := a.Listen(ctx, "tcp", "172.30.0.11:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, "hello from a")
			c.Close()
		}
	}()
	c, err := b.DialContext(ctx, "tcp", "172.30.0.11:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "hello from a" {
		t.Fatalf("read %q, %v", got, err)
	}
	if host, _, _ := net.SplitHostPort(c.LocalAddr().String()); host != "172.30.0.12" {
		t.Errorf("dialled from %s, want the address of the namespace", host)
	}
}

func TestBlackholeYieldsToARoute(t *testing.T) {
	requireRoot(t)
	for _, test := range []struct{ bridge, dst, inside, via string }{
		{"172.30.0.1/16", "10.96.0.0/16", "10.96.0.1", "172.30.0.11"},
		{"fd00:172:30::1/64", "fd00:10:96::/112", "fd00:10:96::1", "fd00:172:30::b"},
	} {
		t.Run(test.dst, func(t *testing.T) {
			blackholeYields(t, netip.MustParsePrefix(test.bridge), netip.MustParsePrefix(test.dst), netip.MustParseAddr(test.inside), netip.MustParseAddr(test.via))
		})
	}
}

func blackholeYields(t *testing.T, bridge, dst netip.Prefix, inside, via netip.Addr) {
	ns := testNetns(t, "mt-host-hole")
	n := testNet(t, ns)
	if err := n.EnsureBridge("br", 1500, bridge); err != nil {
		t.Fatal(err)
	}
	hole := Route{Dst: dst, Blackhole: true, Metric: LastResort}
	if err := n.ReplaceRoute(hole); err != nil {
		t.Fatal(err)
	}
	dial := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := ns.DialContext(ctx, "udp", netip.AddrPortFrom(inside, 9).String())
		return err
	}
	if err := dial(); !errors.Is(err, syscall.EINVAL) { // what a blackhole route tells a local process
		t.Errorf("dial into the blackhole: %v, want EINVAL", err)
	}
	used, err := n.UsedRanges()
	if err != nil {
		t.Fatal(err)
	}
	found := map[netip.Prefix]string{}
	for _, u := range used {
		found[u.Prefix] = u.Link
	}
	if link, ok := found[dst]; !ok || link != "" || found[bridge.Masked()] != "br" {
		t.Errorf("used ranges = %v", used)
	}
	if err := n.ReplaceRoute(Route{Dst: dst, Via: via, Link: "br"}); err != nil {
		t.Fatal(err)
	}
	if err := dial(); err != nil {
		t.Errorf("dial with a route beside the blackhole: %v", err)
	}
	for range 2 {
		if err := n.DeleteRoute(hole); err != nil {
			t.Error(err)
		}
	}
}

func TestMasqueradeIsIdempotent(t *testing.T) {
	requireRoot(t)
	ns := testNetns(t, "mt-host-nat")
	m := Masquerade{
		Table:    "mt-host",
		Sources:  []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Internal: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
	}
	for _, step := range []func() error{m.Ensure, m.Ensure, m.Delete, m.Delete} {
		if err := ns.Do(step); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCgroupKillsAndDeletes(t *testing.T) {
	requireRoot(t)
	c := Cgroup{Path: "mt-host/node-1"}
	// Its child hands no controllers down, so that it may hold processes.
	if err := errors.Join(c.Create(), os.Mkdir(c.Child("pod").V2(), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := (Cgroup{Path: "mt-host"}).Delete(); err != nil {
			t.Error(err)
		}
	})
	dir, err := os.Open(c.Child("pod").V2())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() { cmd.Wait(); close(waited) }()
	pids, err := c.Procs()
	if err != nil || len(pids) != 1 || pids[0] != cmd.Process.Pid {
		t.Fatalf("processes = %v, %v; want only %d", pids, err, cmd.Process.Pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	<-waited
	for range 2 {
		if err := c.Delete(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(c.V2()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cgroup directory after Delete: %v", err)
	}
}

func TestUnmountAllUnder(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	for _, name := range []string{"a", "a/b", "c d"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := MountTmpfs(path, "size=64k"); err != nil {
			t.Fatal(err)
		}
	}
	if points, err := MountsUnder(dir); err != nil || len(points) != 3 {
		t.Fatalf("mounts = %q, %v; want 3", points, err)
	}
	for range 2 {
		if err := UnmountAllUnder(dir); err != nil {
			t.Fatal(err)
		}
	}
	if points, err := MountsUnder(dir); err != nil || len(points) != 0 {
		t.Errorf("mounts after = %q, %v", points, err)
	}
}
