package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"minato/internal/host"
)

// advertisement tells hosts on the link that the sender is their default
// router for half an hour.
var advertisement = []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}

// A machine that has its default route from a router advertisement keeps it
// when it forwards itself, and gets its earlier settings back.
func TestMachineKeepsItsDefaultRoute(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	router, machine := testNetns(t, "mt-egress-r"), testNetns(t, "mt-egress-m")
	uplinkTo(t, router, machine)
	const conf = "net/ipv6/conf/"
	settings := []string{
		conf + "all/forwarding", conf + "default/forwarding", conf + "default/accept_ra",
		conf + "up0/forwarding", conf + "up0/accept_ra", conf + "quiet/forwarding", conf + "quiet/accept_ra",
	}
	before := readSettings(t, machine, settings)

	waitForRoute(t, router, machine)
	record := filepath.Join(t.TempDir(), "sysctls.json")
	inLAN := func(name string, do func(*lan) error) {
		t.Helper()
		cfg := families(DualStack)
		cfg.Name = name
		if err := machine.Do(func() error {
			l, err := openLAN(cfg)
			if err != nil {
				return err
			}
			defer l.close()
			l.sysctls.file = record
			return do(l)
		}); err != nil {
			t.Fatal(err)
		}
	}
	forwards := func(when string) {
		t.Helper()
		if got := readSettings(t, machine, settings[:1]); got[0] != "1" {
			t.Errorf("%s = %s %s", settings[0], got[0], when)
		}
		if !hasDefaultRoute(t, machine) {
			t.Errorf("the default route is gone %s", when)
		}
	}
	for range 2 { // the second time as after a server that was killed
		inLAN("mt-a", (*lan).up)
	}
	forwards("while a cluster is up")
	// A second cluster, of which only the settings matter here, outlives the
	// first.
	inLAN("mt-b", (*lan).forwardIPv6)
	for range 2 {
		inLAN("mt-a", (*lan).down)
	}
	forwards("while the other cluster is up")
	inLAN("mt-b", (*lan).down)
	for i, got := range readSettings(t, machine, settings) {
		if got != before[i] {
			t.Errorf("%s = %s afterwards, was %s", settings[i], got, before[i])
		}
	}
	if !hasDefaultRoute(t, machine) {
		t.Error("the default route is gone afterwards")
	}
	if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record afterwards: %v", err)
	}
}

func testNetns(t *testing.T, name string) host.Netns {
	t.Helper()
	ns, err := host.CreateNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.DeleteNetns(ns) })
	return ns
}

// uplinkTo connects the machine's up0 with the router's eth0, and gives the
// machine a second link that accepts no advertisements.
func uplinkTo(t *testing.T, router, machine host.Netns) {
	t.Helper()
	if err := machine.Sysctls(map[string]string{"net/ipv6/conf/default/accept_dad": "0"}); err != nil {
		t.Fatal(err)
	}
	if err := router.EnableIPv6(); err != nil {
		t.Fatal(err)
	}
	r, err := host.OpenNet(router)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for port, name := range map[string]string{"eth0": "up0", "eth1": "quiet"} {
		if err := r.AddVeth(port, "", nil, host.VethEnd{Netns: machine, Name: name}, 1400); err != nil {
			t.Fatal(err)
		}
		m, err := host.OpenNet(machine)
		if err != nil {
			t.Fatal(err)
		}
		err = m.SetUp(name, "")
		m.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := machine.Sysctls(map[string]string{"net/ipv6/conf/quiet/accept_ra": "0", "net/ipv6/conf/quiet/forwarding": "1"}); err != nil {
		t.Fatal(err)
	}
	if err := r.AddAddress("eth0", netip.MustParsePrefix("fe80::1/64")); err != nil {
		t.Fatal(err)
	}
}

// waitForRoute sends advertisements until the machine has the default route.
func waitForRoute(t *testing.T, router, machine host.Netns) {
	t.Helper()
	conn, err := router.ListenPacket(t.Context(), "ip6:ipv6-icmp", "fe80::1%eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.IPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// Hosts ignore advertisements with a hop limit below 255, because a router
	// has forwarded them.
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS, 255)
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !hasDefaultRoute(t, machine) {
		if _, err := conn.WriteTo(advertisement, &net.IPAddr{IP: net.ParseIP("ff02::1"), Zone: "eth0"}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("the machine does not take the router's advertisements")
		}
	}
}

func hasDefaultRoute(t *testing.T, ns host.Netns) bool {
	t.Helper()
	n, err := host.OpenNet(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	link, ok, err := n.DefaultLink(true)
	if err != nil {
		t.Fatal(err)
	}
	return ok && link.Name == "up0"
}

func readSettings(t *testing.T, ns host.Netns, paths []string) (values []string) {
	t.Helper()
	err := ns.Do(func() error {
		for _, p := range paths {
			v, err := host.ReadSysctl(p)
			if err != nil {
				return err
			}
			values = append(values, v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return values
}
