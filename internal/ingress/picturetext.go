package ingress

import (
	"fmt"
	"io"
	"text/tabwriter"
)

func orStar(host string) string {
	if host == "" {
		return "*"
	}
	return host
}

// WriteRoutes writes routes as a table.
func WriteRoutes(out io.Writer, routes []Route) error {
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "HOST\tPATH\tTYPE\tINGRESS\tCLASS\tBACKEND\tENDPOINTS\tTLS")
	for _, r := range routes {
		ingress, backend, tls := "-", "-", "-"
		if r.Ingress != "" {
			ingress = r.Namespace + "/" + r.Ingress
		}
		if r.Backend != "" {
			backend = r.Backend
		}
		if r.Fault != "" {
			backend = "503"
		}
		if r.TLS != "" {
			tls = r.TLS
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", orStar(r.Host), r.Path, r.PathType, ingress, r.Class, backend, r.Endpoints, tls)
	}
	return w.Flush()
}

// Write writes the answer for people.
func (a *Answer) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("Host", "%s (%s)", orStar(a.Host), a.HostReason)
	for _, h := range a.OtherHosts {
		line("Not", "%s", h)
	}
	line("Path", "%s", a.Path)
	for _, n := range a.PathNotes {
		line("", "%s", n)
	}
	if a.Certificate != "" {
		line("Certificate", "%s", a.Certificate)
	}
	for _, c := range a.Candidates {
		ingress := c.Ingress
		if ingress == "" {
			ingress = "(no Ingress)"
		}
		mark := "lost"
		if c.Chosen {
			mark = "chosen"
		}
		line("Rule", "%s %s of %s: %s, %s", c.PathType, c.Path, ingress, mark, c.Reason)
	}
	if a.ClassReason != "" {
		line("Class", "%s", a.ClassReason)
	}
	for i, c := range a.Captures {
		line(fmt.Sprintf("$%d", i+1), "%s", c)
	}
	for i, s := range a.Steps {
		line(fmt.Sprintf("Step %d", i+1), "%s", s)
	}
	if a.Backend != "" {
		line("Backend", "%s", a.Backend)
	}
	if a.BackendReason != "" {
		line("", "%s", a.BackendReason)
	}
	for _, e := range a.Endpoints {
		mark := "no"
		if e.Chosen {
			mark = "yes"
		}
		where := ""
		if e.Node != "" {
			where = " on " + e.Node
		}
		if e.Pod != "" {
			where = " Pod " + e.Pod + where
		}
		line("Endpoint", "%s%s: %s, %s", e.Address, where, mark, e.Reason)
	}
	if a.Verdict != "" {
		line("Answered", "%s", a.Verdict)
	}
	return w.Flush()
}
