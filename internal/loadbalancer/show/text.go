package show

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// List writes one line for each address of the Services, and one for each Service that has none.
func List(out io.Writer, services []Service) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tADDRESS\tPOOL\tANNOUNCED BY\tNEXT\tFLOWS GO TO\tBGP PEERS\tSTATE")
	for i := range services {
		s := &services[i]
		if len(s.Addresses) == 0 {
			fmt.Fprintf(w, "%s/%s\t<pending>\t-\t-\t-\t-\t-\t%s\n", s.Namespace, s.Name, cmp.Or(s.Allocation.Cause, s.Allocation.Reason))
		}
		for j := range s.Addresses {
			a := &s.Addresses[j]
			fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Namespace, s.Name, a.Address, cmp.Or(s.Allocation.Pool, "-"),
				cmp.Or(a.AnnouncedBy, "-"), cmp.Or(a.Next, "-"), s.Flows.brief(), a.peers(), a.state())
		}
	}
	return w.Flush()
}

// state is "announced", or the reason why it isn't: that of layer 2, unless only BGP was asked to.
func (a *Address) state() string {
	if a.AnnouncedBy != "" {
		return "announced"
	}
	for _, p := range a.Peers {
		if p.Prefix != "" {
			return "announced"
		}
	}
	return a.Reason
}

// peers counts those that some node tells of the address.
func (a *Address) peers() string {
	told := map[string]bool{}
	for _, p := range a.Peers {
		told[p.Peer] = told[p.Peer] || p.Prefix != ""
	}
	n := 0
	for _, is := range told {
		if is {
			n++
		}
	}
	if len(told) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", n, len(told))
}

// brief names the nodes that get new flows, if they are few.
func (f *Flows) brief() string {
	var names []string
	for _, n := range f.Nodes {
		if n.Buckets > 0 {
			names = append(names, n.Node)
		}
	}
	switch {
	case len(names) == 0:
		return "-"
	case len(names) > 3:
		return fmt.Sprintf("%d nodes", len(names))
	}
	return strings.Join(names, ", ")
}

// Write tells all about a Service.
func (s Service) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	s.writeHead(w)
	for i := range s.Addresses {
		s.Addresses[i].write(w)
	}
	if len(s.Addresses) > 0 {
		s.Flows.write(w)
	}
	return w.Flush()
}

func (s *Service) writeHead(w io.Writer) {
	facts := []string{"external traffic policy " + s.Policy}
	if s.Affinity {
		facts = append(facts, "client affinity")
	}
	if s.Shared {
		facts = append(facts, "may share its address")
	}
	if s.Node != "" {
		facts = append(facts, "as "+s.Node+" sees it")
	}
	fmt.Fprintf(w, "Service %s/%s, %s\n\n", s.Namespace, s.Name, strings.Join(facts, ", "))
	a := &s.Allocation
	switch {
	case len(s.Addresses) == 0:
		fmt.Fprintf(w, "It has no address (%s).\n", cmp.Or(a.Cause, a.Reason))
	case len(s.Addresses) == 1:
		fmt.Fprintf(w, "Its address is of pool %s.\n", a.Pool)
	default:
		fmt.Fprintf(w, "Its addresses are of pool %s.\n", a.Pool)
	}
	for _, line := range append(slices.Clone(a.Why), a.Pending, a.Help) {
		if line != "" {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
}

func (a *Address) write(w io.Writer) {
	fmt.Fprintf(w, "\nAddress %s\n\n  %s\n", a.Address, a.Message)
	if len(a.Interfaces) > 0 {
		fmt.Fprintf(w, "  It does so at %s only.\n", strings.Join(a.Interfaces, ", "))
	}
	if len(a.Candidates) > 0 {
		fmt.Fprintln(w, "\n  PLACE\tNODE\tPREFERENCE\tHASH\tBECAUSE")
	}
	for _, c := range a.Candidates {
		fmt.Fprintf(w, "  %s\t%s\t%d\t%.8s\t%s\n", c.place(), c.Node, c.Preference, c.Hash, c.Why)
	}
	if len(a.Peers) > 0 {
		fmt.Fprintln(w, "\n  BGP PEER\tNODE\tTELLS IT\tLOCAL PREFERENCE\tCOMMUNITIES\tBECAUSE")
	}
	for _, p := range a.Peers {
		localPref := "-"
		if p.LocalPref > 0 {
			localPref = strconv.FormatUint(uint64(p.LocalPref), 10)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", p.Peer, p.Node, cmp.Or(p.Prefix, "nothing"), localPref,
			cmp.Or(strings.Join(p.Communities, ", "), "-"), p.Message)
	}
}

func (c *Candidate) place() string {
	switch c.Rank {
	case 0:
		return "none"
	case 1:
		return "announces"
	case 2:
		return "next"
	}
	return strconv.Itoa(c.Rank)
}

func (f *Flows) write(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", f.Message)
	if len(f.Nodes) > 0 {
		fmt.Fprintln(w, "\n  NODE\tGETS\tBUCKETS\tIS SECOND FOR")
	}
	for _, n := range f.Nodes {
		fmt.Fprintf(w, "  %s\t%.1f %%\t%d\t%d\n", n.Node, 100*float64(n.Buckets)/float64(max(f.Buckets, 1)), n.Buckets, n.Second)
	}
}
