package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newKubeconfigCommand(o *options) *cobra.Command {
	var merge, remove, use bool
	cmd := &cobra.Command{
		Use:   "kubeconfig [--merge|--remove [FILE]]",
		Short: "Print a cluster's kubeconfig, or put its context into yours",
		Long: `Print the kubeconfig of the cluster's administrator, for a program that takes one.

With --merge the cluster's context is put into FILE or, without FILE, into your own
kubeconfig: that of $KUBECONFIG, or ~/.kube/config. It becomes the current context
where there is none, or with --use. With --remove it is taken out again, also after
the cluster is gone; the exit status is 3 where it was not there.

The contexts of other clusters stay as they are. The file is locked as kubectl locks
it, and replaced in one step; its mode and its owner stay.`,
		Example: `  minato kubeconfig > minato.conf
  minato kubeconfig --name test --merge --use
  minato kubeconfig --merge ~/all-clusters.conf
  minato kubeconfig --name test --remove`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case merge && remove:
				return usageError{errors.New("--merge and --remove exclude each other: give one")}
			case use && !merge:
				return usageError{errors.New("--use goes with --merge; `kubectl config use-context` changes the current context alone")}
			case len(args) > 0 && !merge && !remove:
				return usageError{fmt.Errorf("%q: a file goes with --merge or --remove; to print into it, use `%s > FILE`", args[0], cmd.CommandPath())}
			case len(args) > 1:
				return usageError{fmt.Errorf("%q: give one file", args[1])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			file := strings.Join(args, "")
			out := cmd.OutOrStdout()
			switch {
			case merge:
				merged, context, err := cluster.MergeKubeconfig(o.name, file, use)
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "Context %q is in %s\n", context, merged)
			case remove:
				from, context, err := cluster.RemoveKubeconfig(o.name, file)
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "Context %q is removed from %s\n", context, strings.Join(from, ", "))
			default:
				text, err := cluster.Kubeconfig(o.name)
				if err != nil {
					return err
				}
				_, err = out.Write(text)
				return err
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "put the context into FILE, or into your own kubeconfig")
	cmd.Flags().BoolVar(&remove, "remove", false, "take the context out of FILE, or of your own kubeconfig")
	cmd.Flags().BoolVar(&use, "use", false, "with --merge, make it the current context also where another is")
	return cmd
}
