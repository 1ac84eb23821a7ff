package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Masquerade describes whose packets take the machine's own address when they
// leave the cluster.
type Masquerade struct {
	// Table is the name of the nftables tables, ours alone: one a family.
	Table string
	// Sources are the ranges to masquerade.
	Sources []netip.Prefix
	// Internal are the ranges between which addresses stay as they are.
	Internal []netip.Prefix
	// LAN is the machine's interface on the cluster's LAN, or empty. What the
	// machine itself sends there keeps its addresses, and so does what hosts on
	// the LAN send to each other: the kernel shows the packets of a bridge to the
	// tables, too. What comes from the LAN and is routed back to it does not.
	LAN string
}

// natFamily is where the addresses of one family are in a packet, and which
// tables see them.
type natFamily struct {
	table               nftables.TableFamily
	is                  func(netip.Addr) bool
	source, destination uint32 // offsets in the header, in bytes
}

var natFamilies = []natFamily{
	{table: nftables.TableFamilyIPv4, is: netip.Addr.Is4, source: 12, destination: 16},
	{table: nftables.TableFamilyIPv6, is: netip.Addr.Is6, source: 8, destination: 24},
}

// Ensure makes the tables say exactly what m says, in one transaction. There
// is one for each family that Sources has.
func (m Masquerade) Ensure() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("masquerade: %w", err)
	}
	for _, f := range natFamilies {
		if slices.ContainsFunc(m.Sources, func(p netip.Prefix) bool { return f.is(p.Addr()) }) {
			m.ensure(c, f)
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade: set nftables table %s: %w", m.Table, err)
	}
	return nil
}

func (m Masquerade) ensure(c *nftables.Conn, f natFamily) {
	table := &nftables.Table{Name: m.Table, Family: f.table}
	// Adding first lets the deletion succeed where there was none before.
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "egress", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	if m.LAN != "" {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(matchNotBack(m.LAN), &expr.Verdict{Kind: expr.VerdictReturn})})
	}
	for _, p := range m.Internal {
		if f.is(p.Addr()) {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(matchPrefix(p, f.destination), &expr.Verdict{Kind: expr.VerdictReturn})})
		}
	}
	for _, p := range m.Sources {
		if f.is(p.Addr()) {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(matchPrefix(p, f.source), &expr.Masq{})})
		}
	}
}

// Delete removes the tables; none of that name is fine.
func (m Masquerade) Delete() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("delete masquerade: %w", err)
	}
	for _, f := range natFamilies {
		c.DelTable(&nftables.Table{Name: m.Table, Family: f.table})
		// One by one: a transaction fails as a whole.
		if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAFNOSUPPORT) {
			return fmt.Errorf("delete nftables table %s: %w", m.Table, err)
		}
	}
	return nil
}

// matchNotBack matches what leaves through a link, unless it came in there and was routed.
func matchNotBack(link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
	}
}

func matchPrefix(p netip.Prefix, offset uint32) []expr.Any {
	n := ipNet(p.Masked())
	size := uint32(len(n.IP))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: n.Mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: n.IP},
	}
}
