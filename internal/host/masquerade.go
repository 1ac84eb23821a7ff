package host

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Masquerade describes whose packets take the machine's own address when they
// leave the cluster.
type Masquerade struct {
	// Table is the name of the nftables table, ours alone.
	Table string
	// Sources are the ranges to masquerade.
	Sources []netip.Prefix
	// Internal are the ranges between which addresses stay as they are.
	Internal []netip.Prefix
}

// Ensure makes the table say exactly what m says, in one transaction.
func (m Masquerade) Ensure() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("masquerade: %w", err)
	}
	table := &nftables.Table{Name: m.Table, Family: nftables.TableFamilyIPv4}
	// Adding first lets the deletion succeed where there was none before.
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "egress", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, p := range m.Internal {
		if p.Addr().Is4() {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(matchPrefix(p, destinationOffset), &expr.Verdict{Kind: expr.VerdictReturn})})
		}
	}
	for _, p := range m.Sources {
		if p.Addr().Is4() {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(matchPrefix(p, sourceOffset), &expr.Masq{})})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade: set nftables table %s: %w", m.Table, err)
	}
	return nil
}

// Delete removes the table; none of that name is fine.
func (m Masquerade) Delete() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("delete masquerade: %w", err)
	}
	c.DelTable(&nftables.Table{Name: m.Table, Family: nftables.TableFamilyIPv4})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete nftables table %s: %w", m.Table, err)
	}
	return nil
}

// Offsets of the addresses in an IPv4 header, in bytes.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

func matchPrefix(p netip.Prefix, offset uint32) []expr.Any {
	n := ipNet(p.Masked())
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: n.Mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: n.IP},
	}
}
