package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newServiceCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Show what a node does with the traffic of Services, and why",
		Example: `  minato service ls
  minato service show whoami
  minato service show kube-system/kube-dns --node node-2
  minato service dump --node node-3 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := knownCommand(cmd, args); err != nil {
				return err
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newServiceListCommand(o), newServiceShowCommand(o), newServiceDumpCommand(o))
	return cmd
}

// serviceFlags are what the three commands have in common.
type serviceFlags struct{ node, output string }

func (f *serviceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.node, "node", cluster.NodeName(1), "the node to ask; each decides for itself")
	outputFlag(cmd, &f.output)
}

// oneService is the Service that arguments name as [NAMESPACE/]NAME.
func oneService(cmd *cobra.Command, args []string) (namespace, name string, err error) {
	if len(args) != 1 {
		return "", "", usageError{fmt.Errorf("name one Service: `%s [NAMESPACE/]NAME`", cmd.CommandPath())}
	}
	namespace, name, found := strings.Cut(args[0], "/")
	if !found {
		namespace, name = "default", args[0]
	}
	return namespace, name, nil
}

func newServiceListCommand(o *options) *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the addresses at which Services answer on a node",
		Example: "  minato service ls\n  minato service ls --node node-2 -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := cluster.ReadServices(cmd.Context(), o.name, f.node)
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return cluster.ListServices(cmd.OutOrStdout(), all)
		},
	}
	f.add(cmd)
	return cmd
}

func newServiceShowCommand(o *options) *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:     "show [NAMESPACE/]NAME",
		Short:   "Show to which endpoints a Service sends connections, and the reason for each endpoint",
		Example: "  minato service show whoami\n  minato service show kube-system/kube-dns --node node-2",
		RunE: func(cmd *cobra.Command, args []string) error {
			namespace, name, err := oneService(cmd, args)
			if err != nil {
				return err
			}
			all, err := cluster.ReadServices(cmd.Context(), o.name, f.node)
			if err != nil {
				return err
			}
			for _, s := range all {
				if s.Namespace != namespace || s.Name != name {
					continue
				}
				if f.output == "json" {
					return printJSON(cmd.OutOrStdout(), s)
				}
				return s.Write(cmd.OutOrStdout())
			}
			return fmt.Errorf("%s knows no Service %s/%s; `minato service ls --node %s` lists those it knows", f.node, namespace, name, f.node)
		},
	}
	f.add(cmd)
	return cmd
}

func newServiceDumpCommand(o *options) *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:     "dump",
		Short:   "Print everything that the kernel of a node holds for Services",
		Example: "  minato service dump\n  minato service dump --node node-3 -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := cluster.DumpServices(cmd.Context(), o.name, f.node)
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), d)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), d)
			return err
		},
	}
	f.add(cmd)
	return cmd
}
