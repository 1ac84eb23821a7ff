package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// outside is the network namespace that the suite runs in: a machine of another
// network, for which this machine is the router to the cluster's LAN.
type outside struct {
	name string // of the namespace
	link string // this machine's end of the wire to it
	ipv6 bool
	// place is another one for each run at the same time, from 0 to maxPlace.
	place int
}

const maxPlace = 63

// address returns the addresses with a number, of ranges for documentation, which
// hardly any network has: 1 is the router's, 2 the client's.
func (o outside) address(n int) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(4*o.place + n)}), 30),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 5: 0x0c, 7: byte(o.place), 15: byte(n)}), 64),
	}
}

func (o outside) routers() []netip.Prefix { return o.address(1) }
func (o outside) clients() []netip.Prefix { return o.address(2) }

// near is an error if specs would take the client for a node of that LAN: they
// compare the first 16 bits of IPv4 addresses, and 64 of IPv6 ones.
func (o outside) near(lan netip.Prefix) error {
	bits := 64
	if lan.Addr().Is4() {
		bits = 16
	}
	around, err := lan.Addr().Prefix(bits)
	if err != nil {
		return err
	}
	for _, c := range o.clients() {
		if around.Contains(c.Addr()) || lan.Contains(c.Addr()) {
			return fmt.Errorf("%s is too near to %s, the client's address; take another range", lan, c.Addr())
		}
	}
	return nil
}

// unused is an error if the machine has an address next to the client's: packets
// would go astray, the machine's own as well.
func (o outside) unused(machine []net.Addr) error {
	for _, a := range machine {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		for _, c := range o.clients() {
			if p.Overlaps(c) {
				return fmt.Errorf("the specs' client would have %s, and this machine has %s; choose another place with -outside", c, p)
			}
		}
	}
	return nil
}

func (o outside) make(ctx context.Context) error {
	machine, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	if err := o.unused(machine); err != nil {
		return err
	}
	inside := []string{"-n", o.name}
	steps := [][]string{
		{"netns", "add", o.name},
		{"link", "add", o.link, "type", "veth", "peer", "name", "eth0", "netns", o.name},
		append(inside, "link", "set", "lo", "up"),
		append(inside, "link", "set", "eth0", "up"),
		{"link", "set", o.link, "up"},
	}
	clients, routers := o.clients(), o.routers()
	for i := range clients {
		if clients[i].Addr().Is6() && !o.ipv6 {
			continue
		}
		var atOnce []string
		if clients[i].Addr().Is6() {
			atOnce = []string{"nodad"}
		}
		steps = append(steps,
			append([]string{"address", "add", routers[i].String(), "dev", o.link}, atOnce...),
			slices.Concat(inside, []string{"address", "add", clients[i].String(), "dev", "eth0"}, atOnce),
			append(inside, "route", "add", "default", "via", routers[i].Addr().String()))
	}
	for _, args := range steps {
		if err := command(ctx, "ip", args...); err != nil {
			return err
		}
	}
	// Only on this link: the cluster sees to its own.
	return os.WriteFile("/proc/sys/net/ipv4/conf/"+o.link+"/forwarding", []byte("1"), 0o644)
}

// remove ends what still runs in the namespace and deletes it; none is fine.
func (o outside) remove(ctx context.Context) error {
	if _, err := os.Stat("/run/netns/" + o.name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", o.name).Output()
	for text := range strings.FieldsSeq(string(out)) {
		if pid, err := strconv.Atoi(text); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
	// Its end of the wire goes with it, and so the other one, once all processes are gone; here it goes at once.
	if _, statErr := os.Stat("/sys/class/net/" + o.link); statErr == nil {
		err = errors.Join(err, command(ctx, "ip", "link", "delete", o.link))
	}
	return errors.Join(err, command(ctx, "ip", "netns", "delete", o.name))
}
