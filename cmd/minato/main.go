// Command minato is a complete Kubernetes on one machine: it starts clusters
// of several real nodes, and is the cluster it starts.
//
// Each file here is one subcommand: it parses flags, calls one package, and
// prints what comes back.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"minato/internal/cluster"
	"minato/internal/member"
	"minato/internal/version"
)

func main() {
	// etcdctl's package turns this on for all that is in the process.
	cobra.EnablePrefixMatching = false
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(runKubectl(os.Args[1:], defaultConfigFlags()))
	}
	if filepath.Base(os.Args[0]) == member.CNIPlugin {
		os.Exit(member.RunCNI(os.Getenv, os.Stdin, os.Stdout))
	}
	// kubectl and etcdctl parse their own arguments, before cobra can take them for
	// ours.
	if call, ok := findForeign(os.Args[1:]); ok {
		if err := call.validate(); err != nil {
			os.Exit(report(os.Stderr, usageError{err}))
		}
		os.Exit(call.run())
	}
	ctx, stop := untilSignal()
	defer stop()
	if status := report(os.Stderr, interrupted(ctx, execute(ctx, newRootCommand()))); status != 0 {
		os.Exit(status)
	}
}

// addGroup adds commands below a heading of the help text, in their order.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
	}
	root.AddCommand(commands...)
}

// execute runs the command line that root has.
func execute(ctx context.Context, root *cobra.Command) error {
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && cmd == root {
		// root itself does nothing, so it has not found a command.
		return usageError{fmt.Errorf("%s; `%s --help` lists the commands", strings.Join(strings.Fields(err.Error()), " "), root.CommandPath())}
	}
	return err
}

// options are the flags that every command has.
type options struct {
	name string
}

// thisProgram is the heading of what is about no cluster.
const thisProgram = "This program:"

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
without Docker, virtual machines or add-ons.

` + exitHelp,
		Example: `  minato up                  # start a cluster of three nodes
  minato kubectl get nodes   # use it
  minato delete              # remove it, with all its data`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().StringVar(&o.name, "name", cluster.DefaultName, "name of the cluster")
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = refuseName
	addGroup(root, "Clusters:", newUpCommand(o), newDownCommand(o), newDeleteCommand(o), newListCommand(), newStatusCommand(o), newLogsCommand(o))
	addGroup(root, "Work with a cluster:", newKubectlCommand(), newEtcdctlCommand(), newKubeconfigCommand(o), newCertsCommand(o), newNodeCommand(o), newImageCommand(o), newMigrateCommand(), newCNICommand(o))
	addGroup(root, "See where traffic goes, and why; or serve any cluster:", newServiceCommand(o), newLoadBalancerCommand(o), newIngressCommand(o), newDNSCommand(o), newProxyCommand())
	addGroup(root, thisProgram, newCompletionCommand(), newServerCommand(o), newVersionCommand())
	root.SetHelpCommandGroupID(thisProgram)
	root.AddCommand(newBGPHelperCommand(), newIngressProxyCommand())
	root.CompletionOptions.DisableDefaultCmd = true
	addCompletions(root, o)
	return root
}

// knownCommand refuses a command that there is not, and names what it may have
// been meant to be.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2 // cobra's own
	}
	meant := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		meant = fmt.Sprintf("; did you mean `%s %s`?", cmd.CommandPath(), strings.Join(near, "`, or `"+cmd.CommandPath()+" "))
	}
	return usageError{fmt.Errorf("unknown command %q%s; `%s --help` lists the commands", args[0], meant, cmd.CommandPath())}
}

// clusterless marks a command that acts on no cluster of `minato up`.
const clusterless = "clusterless"

// refuseName refuses --name where it would mean nothing.
func refuseName(cmd *cobra.Command, _ []string) error {
	if cmd.Annotations[clusterless] == "" {
		return nil
	}
	return noName(cmd, fmt.Sprintf("`%s` acts on no cluster of `minato up`", cmd.CommandPath()))
}

// noName refuses --name, and says why it would mean nothing.
func noName(cmd *cobra.Command, why string) error {
	if !cmd.Flags().Changed("name") {
		return nil
	}
	return usageError{fmt.Errorf("--name: %s; leave --name out", why)}
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
