package bgp

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minato/internal/loadbalancer/config"
)

const frrPrograms = "/usr/lib/frr"

// frr is the router FRR.
type frr struct {
	*lab
	sockets string
}

// frr starts FRR with a configuration for bgpd, and one for bfdd, in which words in braces stand for addresses of the lab.
func (l *lab) frr(bgpd, bfdd string) *frr {
	l.t.Helper()
	f := &frr{lab: l, sockets: l.dir}
	l.run("chown", "frr:frr", l.dir) // the user that FRR runs as
	l.run("chmod", "711", filepath.Dir(l.dir))
	zserv := filepath.Join(l.dir, "zserv")
	for _, daemon := range []struct{ name, conf string }{{"zebra", "interface {link}\n no ipv6 nd suppress-ra\n ipv6 nd ra-interval 1\n"}, {"bfdd", bfdd}, {"bgpd", bgpd}} {
		if daemon.conf == "" {
			continue
		}
		file := filepath.Join(l.dir, daemon.name+".conf")
		l.write(file, "log stdout\nfrr defaults datacenter\n"+daemon.conf)
		args := []string{"-f", file, "-z", zserv, "-i", filepath.Join(l.dir, daemon.name+".pid"), "--vty_socket", l.dir, "-P", "0"}
		if daemon.name == "bfdd" {
			args = append(args, "--bfdctl", filepath.Join(l.dir, "bfdd.sock"))
		}
		l.serve(filepath.Join(frrPrograms, daemon.name), args...)
		l.until(10*time.Second, daemon.name+" runs", func() error {
			_, err := f.try(daemon.name, "show version")
			return err
		})
	}
	return f
}

func (f *frr) try(daemon, command string) (string, error) {
	out, err := exec.Command("vtysh", "--vty_socket", f.sockets, "-d", daemon, "-c", command).CombinedOutput()
	return string(out), err
}

// shows waits until a command prints all the texts.
func (f *frr) shows(daemon, command string, texts ...string) {
	f.t.Helper()
	f.until(20*time.Second, command, func() error {
		out, err := f.try(daemon, command)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, text := range texts {
			if !strings.Contains(out, text) {
				return fmt.Errorf("no %q in:\n%s", text, out)
			}
		}
		return nil
	})
}

func (f *frr) lacks(command, text string) {
	f.t.Helper()
	f.until(20*time.Second, command, func() error {
		if out, _ := f.try("bgpd", command); strings.Contains(out, text) {
			return errors.New(out)
		}
		return nil
	})
}

func TestFRR(t *testing.T) {
	l := newLab(t, "vtysh", "nft", frrPrograms+"/bgpd")
	f := l.frr(`
router bgp 65010
 bgp router-id {peer4}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp graceful-restart
 neighbor {node4} remote-as 64500
 neighbor {node4} password secret
 neighbor {node4} bfd
 neighbor {node4} bfd profile fast
 address-family ipv4 unicast
  neighbor {node4} activate
 address-family ipv6 unicast
  neighbor {node4} activate
`, `
bfd
 profile fast
  transmit-interval 100
  receive-interval 100
`)
	s := newTestLocal(t)
	runSpeaker(t, s)
	p := l.peer4Of("frr")
	p.PeerASN, p.DualStack, p.Password, p.GracefulRestart = 65010, true, "secret", true
	p.BFD = &BFD{Receive: 100 * time.Millisecond, Transmit: 100 * time.Millisecond, Multiplier: 3}
	p.Routes = []Route{
		{Prefix: route("192.0.2.0/26").Prefix, Communities: []config.Community{{Parts: [3]uint32{65535, 65281}}, {Large: true, Parts: [3]uint32{1, 2, 3}}}},
		{Prefix: route("2001:db8::/64").Prefix, NextHop: l.node6},
	}
	apply(t, s, p)
	session(t, s, "frr", 20*time.Second, "up, with BFD", hasBFD)
	f.shows("bgpd", "show bgp ipv4 unicast 192.0.2.0/26", l.node4.String(), "no-export", "1:2:3", "64500")
	f.shows("bgpd", "show bgp ipv6 unicast 2001:db8::/64", l.node6.String())
	f.shows("bfdd", "show bfd peers", "Status: up")
	l.cut()
	cut := time.Now()
	session(t, s, "frr", 10*time.Second, "down", func(x Session) bool { return !isUp(x) && strings.Contains(x.Error, "BFD") })
	f.lacks("show bgp ipv4 unicast", "192.0.2.0")
	if took := time.Since(cut); took > 3*time.Second {
		t.Errorf("the cut was found only after %v", took)
	}
	l.mend()
	session(t, s, "frr", 30*time.Second, "up again, with BFD", hasBFD)
	f.shows("bgpd", "show bgp ipv4 unicast 192.0.2.0/26", l.node4.String())
	p.Routes = p.Routes[1:]
	apply(t, s, p)
	f.lacks("show bgp ipv4 unicast", "192.0.2.0")
}

func TestUnnumbered(t *testing.T) {
	l := newLab(t, "vtysh", frrPrograms+"/bgpd")
	f := l.frr(`
router bgp 65010
 bgp router-id {peer4}
 no bgp ebgp-requires-policy
 neighbor {link} interface remote-as 64500
 address-family ipv6 unicast
  neighbor {link} activate
`, "")
	s := newTestLocal(t)
	runSpeaker(t, s)
	p := Peer{Name: "frr", LocalASN: 64500, PeerASN: 65010, Interface: l.link, Port: 179}
	p.Routes = []Route{route("192.0.2.1/32"), route("2001:db8::1/128")}
	apply(t, s, p)
	session(t, s, "frr", 30*time.Second, "up", isUp)
	f.shows("bgpd", "show bgp ipv4 unicast 192.0.2.1/32", "fe80::")
	f.shows("bgpd", "show bgp ipv6 unicast 2001:db8::1/128", "fe80::")
}
