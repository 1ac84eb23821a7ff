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
		Use:   cluster.EtcdctlCommand + " ARGUMENTS...",
		Short: "Run the built-in etcdctl against the cluster's store",
		Long: `Run the etcdctl that is built in, upstream's own, against the store of the
cluster, which has to be up. All arguments are etcdctl's, but for --name before the
first of them. Where the store is, and the certificates for it, need not be given.`,
		Example: "  minato etcdctl get / --prefix --keys-only --limit=10\n  minato etcdctl --name test snapshot save backup.db",
		Run:     func(*cobra.Command, []string) {},
	}
}

// findEtcdctl tells whether a command line is for etcdctl. Ours is --name before its
// first argument, on either side of the word etcdctl.
func findEtcdctl(args []string) (call kubectlCall, is bool) {
	call.name = cluster.DefaultName
	args = call.takeName(args)
	if len(args) == 0 || args[0] != cluster.EtcdctlCommand {
		return call, false
	}
	call.args = call.takeName(args[1:])
	return call, true
}

// runEtcdctl is upstream's etcdctl, which ends the process itself where it fails; the
// caller may name another place of etcd.
func runEtcdctl(name string, args []string) error {
	if !needsStore(args) {
		return etcdctl(args)
	}
	if err := cluster.RequireRoot(); err != nil {
		return err
	}
	config, err := cluster.LoadConfig(name)
	if err != nil {
		return err
	}
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

func etcdctl(args []string) error {
	os.Args = append([]string{"etcdctl"}, args...)
	cobra.EnablePrefixMatching = true // as etcdctl has it
	ctlv3.MustStart()
	return nil
}
