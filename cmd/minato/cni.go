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
	cmd.AddCommand(&cobra.Command{
		Use:     "config NODE",
		Short:   "Print the network configuration list for a node, as JSON",
		Example: "  minato cni config node-1 > /etc/cni/net.d/10-minato.conflist",
		Args:    exactlyOne("NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := cluster.CNIConfig(o.name, args[0])
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
			}
			return err
		},
	})
	return cmd
}
