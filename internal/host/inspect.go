package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Inspection tells for each IP family whether something inspects forwarded packets.
type Inspection struct{ IPv4, IPv6 bool }

// Inspects tells whether anything in the namespace inspects packets while they are forwarded: packet filters, network
// address translation, connection tracking, or an IPsec policy. Where the kernel can list all such
// hooks, that list decides; elsewhere the tables of nftables and iptables do, empty ones included.
func (n Netns) Inspects() (is Inspection, err error) {
	err = n.Do(func() error {
		encrypts, err := hasXfrmPolicies()
		if err != nil || encrypts {
			is = Inspection{IPv4: true, IPv6: true}
			return err
		}
		if listsHooks() {
			is, err = listedHooks()
		} else {
			is, err = hooksOfTables()
		}
		return err
	})
	if err != nil {
		return is, fmt.Errorf("find packet filters and IPsec policies that see forwarded packets: %w", err)
	}
	return is, nil
}

// forwarding are the places that a forwarded packet passes.
var forwarding = []nftables.ChainHook{*nftables.ChainHookPrerouting, *nftables.ChainHookForward, *nftables.ChainHookPostrouting}

const (
	subsystemHooks = 12 // of nfnetlink
	attrHook       = 1
)

// listsHooks tells whether the kernel can list hooks. It is asked once, since it looks for a module each time.
var listsHooks = sync.OnceValue(func() bool {
	_, err := listedHooks()
	return err == nil
})

// listedHooks asks the kernel for all hooks, whoever set them.
func listedHooks() (is Inspection, err error) {
	for family, inspects := range map[uint8]*bool{unix.NFPROTO_IPV4: &is.IPv4, unix.NFPROTO_IPV6: &is.IPv6} {
		for _, hook := range forwarding {
			r := nl.NewNetlinkRequest(subsystemHooks<<8, unix.NLM_F_DUMP)
			r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
			r.AddData(nl.NewRtAttr(attrHook, nl.BEUint32Attr(uint32(hook))))
			found, err := r.Execute(unix.NETLINK_NETFILTER, 0)
			if err != nil {
				return is, fmt.Errorf("list hooks: %w", err)
			}
			*inspects = *inspects || len(found) > 0
		}
	}
	return is, nil
}

// hooksOfTables looks for chains of nftables, among which are those of today's iptables, and for tables of the older one.
func hooksOfTables() (is Inspection, err error) {
	c, err := nftables.New()
	if err != nil {
		return is, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil && !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return is, fmt.Errorf("list chains of nftables: %w", err)
	}
	for _, chain := range chains {
		if chain.Hooknum == nil || !slices.Contains(forwarding, *chain.Hooknum) {
			continue
		}
		is.IPv4 = is.IPv4 || chain.Table.Family == nftables.TableFamilyIPv4 || chain.Table.Family == nftables.TableFamilyINet
		is.IPv6 = is.IPv6 || chain.Table.Family == nftables.TableFamilyIPv6 || chain.Table.Family == nftables.TableFamilyINet
	}
	for file, inspects := range map[string]*bool{"ip_tables_names": &is.IPv4, "ip6_tables_names": &is.IPv6} {
		names, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return is, err
		}
		*inspects = *inspects || strings.TrimSpace(string(names)) != ""
	}
	return is, nil
}

// hasXfrmPolicies tells whether packets may have to be encrypted.
func hasXfrmPolicies() (bool, error) {
	policies, err := netlink.XfrmPolicyList(netlink.FAMILY_ALL)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list policies for encryption: %w", err)
	}
	return len(policies) > 0, nil
}
