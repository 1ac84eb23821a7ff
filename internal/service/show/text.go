package show

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// List writes one line for each frontend of the Services.
func List(out io.Writer, services []Service) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tPORT\tKIND\tADDRESS\tENDPOINTS\tLOCAL\tCONNECTIONS\tSTATE")
	for _, s := range services {
		for _, p := range s.Ports {
			cluster, local := 0, 0
			for _, e := range p.Endpoints {
				cluster += count(e.InCluster)
				local += count(e.InLocal)
			}
			for i := range p.Frontends {
				f := &p.Frontends[i]
				fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", s.Namespace, s.Name, cmp.Or(p.Name, "-"), f.Kind,
					f.address(&p), cluster, local, f.CameInside.Connections+f.CameOutside.Connections, s.state())
			}
		}
	}
	return w.Flush()
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

func (s *Service) state() string {
	if s.InStep {
		return "in step"
	}
	return "behind"
}

func (f *Frontend) address(p *Port) string {
	host := f.Address
	switch {
	case host != "":
	case p.IPv6:
		host = "every node, IPv6"
	default:
		host = "every node"
	}
	if strings.Contains(host, " ") {
		return fmt.Sprintf("%s: %d/%s", host, f.Port, p.Protocol)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(f.Port))) + "/" + p.Protocol
}

// Write tells all about a Service.
func (s Service) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	if len(s.Ports) == 0 {
		fmt.Fprintf(w, "Service %s/%s has no address to route: it is headless, an ExternalName, or another proxy's.\n", s.Namespace, s.Name)
		return w.Flush()
	}
	step := "in step"
	if !s.InStep {
		step = "not in step"
	}
	kind, key := "Service", types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	if pod, is := route.PodOf(key); is {
		kind, key = "Pod", pod
	}
	fmt.Fprintf(w, "%s %s on %s, %s with the kernel\n", kind, key, s.Node, step)
	for i := range s.Ports {
		s.Ports[i].write(w)
	}
	return w.Flush()
}

func (p *Port) write(w io.Writer) {
	family := "IPv4"
	if p.IPv6 {
		family = "IPv6"
	}
	fmt.Fprintf(w, "\nPort %s, %s, %s, topology: %s\n\n", cmp.Or(p.Name, "without a name"), p.Protocol, family, p.Topology)
	fmt.Fprintln(w, "  KIND\tADDRESS\tFROM A POD\tFROM THE NODE\tFROM OUTSIDE\tBESIDES")
	for i := range p.Frontends {
		f := &p.Frontends[i]
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", f.Kind, f.address(p), f.Pod, f.Host, f.Outside, f.besides())
	}
	p.writeVisits(w)
	fmt.Fprintln(w)
	if len(p.Endpoints) == 0 {
		fmt.Fprintln(w, "  No endpoints.")
	} else {
		fmt.Fprintln(w, "  ENDPOINT\tNODE\tPOD\tCLUSTER SET\tLOCAL SET\tCONNECTIONS\tPACKETS\tBYTES")
	}
	for _, e := range p.Endpoints {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", e.Address, cmp.Or(e.Node, "-"), cmp.Or(e.Pod, "-"), e.ClusterSet, e.LocalSet, e.Connections, e.Packets, e.Bytes)
	}
}

// writeVisits tells what came to the frontends, if anything did.
func (p *Port) writeVisits(w io.Writer) {
	titled := false
	for i := range p.Frontends {
		f := &p.Frontends[i]
		for _, from := range []struct {
			name string
			Visits
		}{{"inside", f.CameInside}, {"outside", f.CameOutside}} {
			if from.Visits == (Visits{}) {
				continue
			}
			if !titled {
				fmt.Fprintln(w, "\n  CAME TO\tFROM\tCONNECTIONS\tREFUSED\tDROPPED")
				titled = true
			}
			fmt.Fprintf(w, "  %s\t%s\t%d\t%d\t%d\n", f.address(p), from.name, from.Connections, from.Refused, from.Dropped)
		}
	}
}

func (f *Frontend) besides() string {
	var all []string
	if f.AffinitySeconds > 0 {
		all = append(all, fmt.Sprintf("affinity %d s", f.AffinitySeconds))
	}
	if f.Restricted {
		all = append(all, fmt.Sprintf("only from %v", f.SourceRanges))
	}
	return cmp.Or(strings.Join(all, ", "), "-")
}
