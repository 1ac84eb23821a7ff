package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs of other clusters may need them
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"minato/internal/cluster"
)

// newKubectlCommand only documents the command: main runs kubectl with the
// arguments before cobra parses them.
func newKubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [--name NAME] ARGUMENTS...",
		Short: "Run the built-in kubectl against a cluster",
		Long: `Run the kubectl that is built in, upstream's own, against the cluster. All
arguments are kubectl's, but for --name before the first of them. A link named
kubectl to this binary is a kubectl of its own, which uses your kubeconfig.`,
		Example: "  minato kubectl get pods -A\n  minato kubectl --name test apply -f app.yaml",
		Run:     func(*cobra.Command, []string) {},
	}
}

// splitName takes --name from the front of kubectl's arguments.
func splitName(args []string) (name string, rest []string, err error) {
	name = cluster.DefaultName
	if len(args) > 0 {
		if value, ok := strings.CutPrefix(args[0], "--name="); ok {
			name, args = value, args[1:]
		} else if args[0] == "--name" {
			if len(args) < 2 {
				return "", nil, errors.New("flag needs an argument: --name")
			}
			name, args = args[1], args[2:]
		}
	}
	return name, args, cluster.ValidateName(name)
}

// runMinatoKubectl runs kubectl with the cluster's own kubeconfig, unless the
// caller named another.
func runMinatoKubectl(name string, args []string) int {
	named := false
	for _, a := range args {
		if a == "--" {
			break
		}
		named = named || a == "--kubeconfig" || strings.HasPrefix(a, "--kubeconfig=") || a == "--context" || strings.HasPrefix(a, "--context=")
	}
	if !named {
		kubeconfig := cluster.Paths{Name: name}.Kubeconfig()
		f, err := os.Open(kubeconfig)
		switch {
		case errors.Is(err, os.ErrPermission):
			// Without root, only the context that `up` merged can be read.
			args = append([]string{"--context=" + cluster.Config{Name: name}.ContextName()}, args...)
		case err != nil && len(args) > 0:
			fmt.Fprintf(os.Stderr, "minato: there is no cluster %q: start it with `minato up`, or name another with --name\n", name)
			return 1
		case err == nil:
			f.Close()
			os.Setenv("KUBECONFIG", kubeconfig)
		}
	}
	return runKubectl(args)
}

// runKubectl is upstream's kubectl.
func runKubectl(args []string) int {
	os.Args = append([]string{"kubectl"}, args...) // where kubectl looks for plugins and verbosity
	if _, err := logs.GlogSetter(cmd.GetLogVerbosity(os.Args)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		cmdutil.CheckErr(err) // prints as kubectl does, and exits
		return 1
	}
	return 0
}
