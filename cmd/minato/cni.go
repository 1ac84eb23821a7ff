package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
	"minato/internal/member"
)

func newCNICommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cni",
		Short: "Give containers of another runtime the Pod network (a CNI plugin)",
		Long: `The Pod network of a node as a plugin of the CNI, versions 1.0.0 and 1.1.0, for a
container runtime that runs on the node beside Minato's, such as containerd. It
reads the CNI's variables and a network configuration on standard input, as the
CNI specifies it; a runtime finds it as the program ` + member.CNIPlugin + `, which is
a link to minato. Containers get an address of the node's range, and reach Pods,
Services and names.`,
		Example: `  ln -s "$(command -v minato)" /opt/cni/bin/` + member.CNIPlugin + `
  minato cni config node-1 > /etc/cni/net.d/10-minato.conflist
  echo '{"cniVersion":"1.1.0"}' | CNI_COMMAND=VERSION minato cni`,
		Args: knownCommand,
		RunE: func(*cobra.Command, []string) error {
			if os.Getenv("CNI_COMMAND") == "" {
				return usageError{fmt.Errorf("CNI_COMMAND is not set: `minato cni` is run by a container runtime; see `minato cni --help`")}
			}
			if status := member.RunCNI(os.Getenv, os.Stdin, os.Stdout); status != 0 {
				return errors.New("the request of the container runtime failed; standard output says why")
			}
			return nil
		},
	}
	cmd.AddCommand(newCNIInstallCommand(), newCNIUninstallCommand(), &cobra.Command{
		Use:   "config [NODE]",
		Short: "Print a network configuration list, as JSON",
		Long: `Print the network configuration list for a container runtime that runs beside the
own one of a node, or without NODE for one that runs the Pods of nodes of any
cluster on this machine, which "minato cni install" writes.`,
		Example: "  minato cni config node-1 > /etc/cni/net.d/10-minato.conflist",
		Args:    atMostOne("NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := cluster.ClustersCNIConfig()
			if len(args) > 0 {
				text, err = cluster.CNIConfig(o.name, args[0])
			}
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
			}
			return err
		},
	})
	return cmd
}

// defaultRuntime is where containerd listens.
const defaultRuntime = "unix:///run/containerd/containerd.sock"

func newCNIInstallCommand() *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Give a container runtime of this machine the Pod network of all clusters",
		Long: `Write where a container runtime looks for CNI plugins a link to this program, and
where it looks for networks the configuration of a network that is that of the node
which runs a Pod. Nodes can use the runtime then: "minato up
--container-runtime-endpoint". The runtime's Pods of others get no network any more.`,
		Example: "  minato cni install\n  minato up --container-runtime-endpoint " + defaultRuntime,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			files, err := cluster.InstallCNI(cmd.Context(), endpoint, program)
			for _, f := range files {
				fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s\n", f)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&endpoint, "container-runtime-endpoint", defaultRuntime, "the runtime's socket")
	return cmd
}

func newCNIUninstallCommand() *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:     "uninstall",
		Short:   "Take away what \"minato cni install\" has written",
		Example: "  minato cni uninstall",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := cluster.UninstallCNI(cmd.Context(), endpoint)
			for _, f := range files {
				fmt.Fprintf(cmd.OutOrStdout(), "Removed %s\n", f)
			}
			if err == nil && len(files) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "Nothing of it is there.")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&endpoint, "container-runtime-endpoint", defaultRuntime, "the runtime's socket")
	return cmd
}
