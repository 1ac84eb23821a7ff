package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newStatusCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show a cluster and its nodes",
		Example: "  minato status\n  minato status -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := cluster.ReadStatus(cmd.Context(), o.name)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printStatus(out io.Writer, s cluster.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "Cluster:\t%s (%s)\n", s.Name, s.State())
	if s.Running {
		fmt.Fprintf(w, "API server:\t%s\n", s.Server)
		fmt.Fprintf(w, "Process:\t%d, %d MiB resident\n", s.PID, s.MemoryBytes>>20)
		switch {
		case s.ProgramsError != "":
			fmt.Fprintf(w, "Containers:\tunknown: %s\n", s.ProgramsError)
		case len(s.Programs) > 0:
			fmt.Fprintf(w, "Containers:\t%s\n", programs(s.Programs))
		}
	}
	fmt.Fprintf(w, "Context:\t%s\nLAN:\t%s\nPods:\t%s\nServices:\t%s\nData:\t%s\nLog:\t%s\n", s.Context, s.LAN, s.PodCIDR, s.ServiceCIDR, s.Data, s.Log)
	if len(s.Nodes) > 0 {
		fmt.Fprintln(w)
		fmt.Fprintln(w, "NODE\tREADY\tADDRESS\tPODS\tPOD RANGE\tNETWORK NAMESPACE")
		for _, n := range s.Nodes {
			fmt.Fprintf(w, "%s\t%t\t%s\t%d\t%s\t%s\n", n.Name, n.Ready, join(n.IPs), n.Pods, join(n.PodCIDRs), n.Netns)
		}
	}
	printTroubled(w, s)
	return w.Flush()
}

// programs says which ones run containers, such as "crun 1.8.1, conmon 2.1.6".
func programs(all []cluster.Program) string {
	parts := make([]string, 0, len(all))
	for _, p := range all {
		parts = append(parts, p.Name+" "+p.Version)
	}
	return strings.Join(parts, ", ")
}

// printTroubled lists the parts that fail or have failed.
func printTroubled(w io.Writer, s cluster.Status) {
	heading := "\nNODE\tPART\tSTATE\tRESTARTS\tLAST FAILURE"
	list := func(where string, parts []cluster.PartStatus) {
		for _, p := range parts {
			if p.Error == "" {
				continue
			}
			if heading != "" {
				fmt.Fprintln(w, heading)
				heading = ""
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", where, p.Name, p.Phase, p.Restarts, p.Error)
		}
	}
	list("-", s.Parts)
	for _, n := range s.Nodes {
		list(n.Name, n.Parts)
	}
}

// join writes values with commas between.
func join[T fmt.Stringer](values []T) string {
	parts := make([]string, 0, len(values))
	for _, v := range values {
		parts = append(parts, v.String())
	}
	return strings.Join(parts, ",")
}
