package cluster

import (
	"os"
	"slices"

	"minato/internal/host"
)

// egress lets packets of nodes and Pods leave through the machine, masqueraded
// with its address, in each IP family in which the machine has a default route.
func (l *lan) egress() error {
	out := false
	for _, f := range l.cfg.IPFamily.families() {
		uplink, ok, err := l.net.DefaultLink(f.is6)
		switch {
		case err != nil:
		case !f.is6:
			err = l.forwardIPv4(uplink.Name)
		case ok:
			err = l.forwardIPv6()
		}
		if err != nil {
			return err
		}
		out = out || ok
	}
	if !out {
		return nil
	}
	return l.masquerade().Ensure()
}

// forwardIPv4 switches forwarding on for the two links that need it, not for
// all; uplink is empty if the machine has no default route.
func (l *lan) forwardIPv4(uplink string) error {
	const conf = "net/ipv4/conf/"
	if err := host.Sysctl(conf+l.paths.Bridge()+"/forwarding", "1"); err != nil || uplink == "" {
		return err
	}
	return l.sysctls.set(setting{conf + uplink + "/forwarding", "1"})
}

// forwardIPv6 switches forwarding on for all links of the machine: kernels before
// 6.17 can't do it for single links. A machine that forwards ignores router
// advertisements by default and drops the default route that it has learned from
// one, so the links that accept advertisements (accept_ra=1) are set to accept
// them while forwarding too (accept_ra=2).
func (l *lan) forwardIPv6() error {
	const conf, all = "net/ipv6/conf/", "net/ipv6/conf/all/forwarding"
	switch was, err := host.ReadSysctl(all); {
	case err != nil:
		return err
	case was == "1": // maybe by another cluster, which may go down before this one
		return l.sysctls.set()
	}
	links, err := os.ReadDir("/proc/sys/" + conf)
	if err != nil {
		return err
	}
	var listen, forward []setting
	for _, link := range links {
		if link.Name() == "all" {
			continue
		}
		if ra, err := host.ReadSysctl(conf + link.Name() + "/accept_ra"); err == nil && ra == "1" {
			listen = append(listen, setting{conf + link.Name() + "/accept_ra", "2"})
		}
		forward = append(forward, setting{conf + link.Name() + "/forwarding", byAnother})
	}
	// accept_ra comes before forwarding, so that no default route is dropped;
	// restore goes through the list backwards, for the same reason.
	return l.sysctls.set(slices.Concat(listen, forward, []setting{{all, "1"}})...)
}
