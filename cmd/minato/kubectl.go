package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs of other clusters may need them
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"minato/internal/cluster"
)

// newKubectlCommand only documents the command: main runs kubectl with the
// arguments before cobra parses them.
func newKubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl ARGUMENTS...",
		Short: "Run the built-in kubectl against a cluster",
		Long: `Run the kubectl that is built in, upstream's own, against the cluster. All
arguments are kubectl's, but for --name before the first of them. Plugins on the
PATH (programs named kubectl-...) work as with any kubectl.

A link named kubectl to this binary is a kubectl of its own, which uses your
kubeconfig: ln -s $(command -v minato) /usr/local/bin/kubectl`,
		Example: `  minato kubectl get pods -A
  minato kubectl --name test apply -f app.yaml
  minato --name test kubectl get nodes`,
		Run: func(*cobra.Command, []string) {},
	}
}

// runMinatoKubectl runs kubectl with the cluster's own kubeconfig, unless the
// caller named another.
func runMinatoKubectl(c foreignCall) int {
	flags := defaultConfigFlags()
	if namesCluster(c.args) {
		return runKubectl(c.args, flags)
	}
	kubeconfig := cluster.Paths{Name: c.name}.Kubeconfig()
	f, err := os.Open(kubeconfig)
	switch {
	case errors.Is(err, fs.ErrPermission):
		// Without root, only the context that `up` merged can be read.
		*flags.Context = cluster.Config{Name: c.name}.ContextName()
	case err != nil:
		missing := cluster.NoClusterError(c.name)
		if changesConfig(c.args) {
			return report(os.Stderr, missing)
		}
		os.Setenv("KUBECONFIG", kubeconfig) // rather than what another cluster's is
		flags.WrapConfigFn = func(config *rest.Config) *rest.Config {
			config.Wrap(func(http.RoundTripper) http.RoundTripper { return nowhere{missing} })
			return config
		}
	default:
		f.Close()
		os.Setenv("KUBECONFIG", kubeconfig)
		flags.WrapConfigFn = func(config *rest.Config) *rest.Config {
			config.Wrap(func(next http.RoundTripper) http.RoundTripper { return perhapsDown{next, c.name} })
			return config
		}
	}
	return runKubectl(c.args, flags)
}

// namesCluster tells whether kubectl's arguments say which cluster they are for.
func namesCluster(args []string) bool {
	for _, a := range args {
		switch flag, _, _ := strings.Cut(a, "="); flag {
		case "--":
			return false
		case "--kubeconfig", "--context":
			return true
		}
	}
	return false
}

// changesConfig tells whether kubectl's arguments are about the kubeconfig
// itself, which a cluster that there is not has none of.
func changesConfig(args []string) bool {
	help := slices.Contains(args, "--help") || slices.Contains(args, "-h")
	return len(args) > 0 && args[0] == "config" && !help
}

// nowhere is how requests go to a cluster that there is not: what needs no
// cluster works, and the first request says what is missing and ends the program,
// since kubectl would say it several times in words of its own.
type nowhere struct{ missing error }

// RoundTrip implements http.RoundTripper.
func (n nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	os.Exit(report(os.Stderr, n.missing))
	return nil, n.missing
}

// perhapsDown is how requests go to a cluster that may be down. One that is
// refused for that reason ends the program with a word on how to bring the cluster
// back.
type perhapsDown struct {
	next http.RoundTripper
	name string
}

// RoundTrip implements http.RoundTripper.
func (p perhapsDown) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(r)
	if errors.Is(err, syscall.ECONNREFUSED) {
		if down := cluster.DownError(p.name); down != nil {
			os.Exit(report(os.Stderr, down))
		}
	}
	return resp, err
}

// WrappedRoundTripper has kubectl find the connection's settings.
func (p perhapsDown) WrappedRoundTripper() http.RoundTripper { return p.next }

// defaultConfigFlags are the flags that upstream's kubectl has for its
// connection.
func defaultConfigFlags() *genericclioptions.ConfigFlags {
	return genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50)
}

// runKubectl is upstream's kubectl.
func runKubectl(args []string, flags *genericclioptions.ConfigFlags) int {
	os.Args = append([]string{"kubectl"}, args...) // where kubectl looks for verbosity
	if _, err := logs.GlogSetter(cmd.GetLogVerbosity(os.Args)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	command := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     os.Args,
		ConfigFlags:   flags.WithWarningPrinter(streams),
		IOStreams:     streams,
	})
	if err := cli.RunNoErrOutput(command); err != nil {
		cmdutil.CheckErr(err) // prints as kubectl does, and exits
		return 1
	}
	return 0
}
