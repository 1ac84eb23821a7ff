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
}

// The ranges, for documentation, that hardly any network has, of which a run takes one
// of each family that no other run has: the router's address is the first one in it and
// the client's the second.
var ranges = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:c::/48")}

// pair has the addresses, with their networks, of number i of the ranges.
func pair(i int) (routers, clients []netip.Prefix) {
	four, six := ranges[0].Addr().As4(), ranges[1].Addr().As16()
	four[3], six[7] = byte(4*i+1), byte(i)
	six[15] = 1
	for _, p := range []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(four), 30), netip.PrefixFrom(netip.AddrFrom16(six), 64)} {
		routers = append(routers, p)
		clients = append(clients, netip.PrefixFrom(p.Addr().Next(), p.Bits()))
	}
	return routers, clients
}

// pairs is how many runs may be at the same time.
const pairs = 16

// outsideOf is an error if specs would take the client for a node of that LAN: they
// compare the first 16 bits of IPv4 addresses, and 64 of IPv6 ones.
func outsideOf(lan netip.Prefix) error {
	bits := 64
	if lan.Addr().Is4() {
		bits = 16
	}
	near, err := lan.Addr().Prefix(bits)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if near.Overlaps(r) || lan.Overlaps(r) {
			return fmt.Errorf("%s is too near to %s, of which the client has an address; take another range", lan, r)
		}
	}
	return nil
}

// unused is the first number whose networks the machine has no address next to:
// packets would go astray, the machine's own as well.
func unused(machine []net.Addr) (int, error) {
	for i := range pairs {
		_, clients := pair(i)
		free := !slices.ContainsFunc(machine, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && slices.ContainsFunc(clients, p.Overlaps)
		})
		if free {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the specs' client would have an address of %s, and this machine has all of them; run it where that range is not in use", ranges[0])
}

func (o outside) make(ctx context.Context) error {
	machine, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	number, err := unused(machine)
	if err != nil {
		return err
	}
	routers, clients := pair(number)
	inside := []string{"-n", o.name}
	steps := [][]string{
		{"netns", "add", o.name},
		{"link", "add", o.link, "type", "veth", "peer", "name", "eth0", "netns", o.name},
		append(inside, "link", "set", "lo", "up"),
		append(inside, "link", "set", "eth0", "up"),
		{"link", "set", o.link, "up"},
	}
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
