package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdctl/v3/ctlv3"

	"minato/internal/cluster"
)

// newEtcdctlCommand only documents the command: main runs etcdctl with the arguments
// before cobra parses them.
func newEtcdctlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   cluster.EtcdctlCommand + " [--name NAME] ARGUMENTS...",
		Short: "Run the built-in etcdctl against the cluster's store",
		Long: `Run the etcdctl that is built in, upstream's own, against the store of the
cluster, which has to be up. All arguments are etcdctl's, but for --name before the
first of them. Where the store is, and the certificates for it, need not be given.`,
		Example: "  minato etcdctl get / --prefix --keys-only --limit=10\n  minato etcdctl --name test snapshot save backup.db",
		Run:     func(*cobra.Command, []string) {},
	}
}

// runEtcdctl is upstream's etcdctl; the caller may name another place of etcd.
func runEtcdctl(c foreignCall) int {
	if !needsStore(c.args) {
		return etcdctl(c.args)
	}
	if err := cluster.RequireRoot(); err != nil {
		return report(os.Stderr, err)
	}
	config, err := cluster.LoadConfig(c.name)
	if err != nil {
		return report(os.Stderr, err)
	}
	args := c.args
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	named := slices.ContainsFunc(args[:end], func(a string) bool { return a == "--endpoints" || strings.HasPrefix(a, "--endpoints=") })
	if !named {
		args = append(config.EtcdctlFlags(), args...)
	}
	return etcdctl(args)
}

// needsStore tells whether etcdctl has to reach a cluster's store.
func needsStore(args []string) bool {
	for _, a := range args {
		switch a {
		case "--":
			return true
		case "-h", "--help":
			return false
		}
	}
	return len(args) > 0 && !slices.Contains([]string{"help", "version", "completion"}, args[0])
}

// etcdctl ends the process itself where it fails.
func etcdctl(args []string) int {
	os.Args = append([]string{"etcdctl"}, args...)
	cobra.EnablePrefixMatching = true // as etcdctl has it
	ctlv3.MustStart()
	return 0
}
