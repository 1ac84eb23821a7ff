// Command minato is a complete Kubernetes on one machine: it starts clusters
// of several real nodes, and is the cluster it starts.
//
// Each file here is one subcommand: it parses flags, calls one package, and
// prints what comes back.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"minato/internal/cluster"
	"minato/internal/version"
)

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(runKubectl(os.Args[1:]))
	}
	// kubectl parses its own arguments, before cobra can take them for ours.
	if len(os.Args) > 1 && os.Args[1] == "kubectl" {
		name, args, err := splitName(os.Args[2:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "minato:", err)
			os.Exit(exitUsage)
		}
		os.Exit(runMinatoKubectl(name, args))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "minato:", err)
		var usage usageError
		if errors.As(err, &usage) {
			os.Exit(exitUsage)
		}
		os.Exit(1)
	}
}

// exitUsage is the exit status for a command line that can't be understood.
const exitUsage = 2

// usageError is an error in the command line; nothing was done.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// options are the flags that every command has.
type options struct {
	name string
}

func newRootCommand() *cobra.Command {
	// Kubernetes' packages add flags of theirs to this set, and cobra gives what is
	// in it to every command.
	pflag.CommandLine = pflag.NewFlagSet("minato", pflag.ContinueOnError)
	o := &options{}
	root := &cobra.Command{
		Use:     "minato",
		Version: version.Get().String(),
		Short:   "A complete Kubernetes in one binary",
		Long: `Minato is a complete Kubernetes in one binary, made around what brings traffic
to a Pod. One command starts a cluster of several real nodes on this machine,
without Docker, virtual machines or add-ons.`,
		Example: `  minato up                  # start a cluster of three nodes
  minato kubectl get nodes   # use it
  minato delete              # remove it, with all its data`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().StringVar(&o.name, "name", cluster.DefaultName, "name of the cluster")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; `%s --help` lists the flags", err, cmd.CommandPath())}
	})
	root.AddCommand(
		newUpCommand(o), newDownCommand(o), newDeleteCommand(o), newStatusCommand(o),
		newNodeCommand(o), newImageCommand(o), newServiceCommand(o), newLoadBalancerCommand(o), newIngressCommand(o), newDNSCommand(o), newProxyCommand(), newKubectlCommand(), newServerCommand(o), newVersionCommand(), newBGPHelperCommand(), newIngressProxyCommand(),
	)
	return root
}

// noArgs refuses arguments with a message that says what the command takes.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%q: `%s` takes no arguments; see `%s --help`", args[0], cmd.CommandPath(), cmd.CommandPath())}
	}
	return nil
}

// outputFlag adds -o to a command whose output scripts read.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "output format: json, or empty for people")
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *output != "" && *output != "json" {
			return usageError{fmt.Errorf("-o %s: give json, or leave -o out", *output)}
		}
		return nil
	}
}
