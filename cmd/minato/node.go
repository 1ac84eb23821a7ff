package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/cluster"
)

func newNodeCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Add, remove, stop and start nodes of a running cluster",
		Long: `Change the nodes of a running cluster. The cluster keeps what is changed: after
"minato down" and "minato up" it has the same nodes.`,
		Example: `  minato node add --label topology.kubernetes.io/zone=b
  minato node stop node-3
  minato node ls`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNodeAddCommand(o), newNodeRemoveCommand(o), newNodeStopCommand(o), newNodeStartCommand(o), newNodeListCommand(o))
	return cmd
}

func newNodeAddCommand(o *options) *cobra.Command {
	var labels, taints []string
	var output, kubeletFile, runtime string
	var claim cluster.Claim
	cmd := &cobra.Command{
		Use:   "add [NAME]",
		Short: "Add a node, and return when it is Ready",
		Long: `Add a node to a running cluster, and return when it is Ready and its DNS answers.
Without a name it is called node-N, with the smallest number that is free.`,
		Example: `  minato node add
  minato node add big --label topology.kubernetes.io/zone=b --label disk=fast --taint dedicated=db:NoSchedule
  minato node add --node-memory 2Gi --node-hugepages 2Mi=64Mi`,
		Args: atMostOne("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := nodeSpec(args, labels, taints)
			if err != nil {
				return usageError{err}
			}
			if spec.Kubelet, err = readKubeletFile(kubeletFile); err != nil {
				return err
			}
			spec.RuntimeEndpoint, spec.Claim = runtime, claim
			began := time.Now()
			st, err := cluster.AddNode(cmd.Context(), o.name, spec)
			if err != nil {
				return err
			}
			return tellNode(cmd.OutOrStdout(), output, st, "is Ready", began)
		},
	}
	cmd.Flags().StringArrayVar(&labels, "label", nil, "a label of the node, KEY=VALUE; may be given again")
	cmd.Flags().StringArrayVar(&taints, "taint", nil, "a taint that the node begins with, KEY=VALUE:EFFECT; may be given again")
	cmd.Flags().StringVar(&kubeletFile, "kubelet-config", "", "a KubeletConfiguration with settings of the node's agent, in place of those of the cluster (docs/kubelet-config.md)")
	cmd.Flags().Int64Var(&claim.CPUs, "node-cpu", 0, "CPUs that the node has, in place of what each node of the cluster has")
	cmd.Flags().Var(&claim.Memory, "node-memory", "memory that the node has, such as 4Gi, in place of the cluster's")
	cmd.Flags().Int64Var(&claim.PIDs, "node-pids", 0, "processes and threads that the node may have, in place of the cluster's")
	cmd.Flags().Var(&claim.EphemeralStorage, "node-ephemeral-storage", "disk that the node's files and Pods may take, such as 20Gi, in place of the cluster's")
	cmd.Flags().Var(&claim.HugePages, "node-hugepages", "huge pages that the node has of a size, such as 2Mi=128Mi, in place of the cluster's of that size")
	cmd.Flags().StringVar(&runtime, "container-runtime-endpoint", "", "the socket of the container runtime that runs the node's Pods, in place of that of the cluster; \"minato\" for Minato's own (docs/cri.md)")
	outputFlag(cmd, &output)
	return cmd
}

// nodeSpec makes a node of the arguments of `node add`.
func nodeSpec(args, labels, taints []string) (cluster.NodeSpec, error) {
	var n cluster.NodeSpec
	if len(args) > 0 {
		n.Name = args[0]
	}
	for _, text := range labels {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return n, fmt.Errorf("--label %q: give KEY=VALUE", text)
		}
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[key] = value
	}
	for _, text := range taints {
		t, err := cluster.ParseTaint(text)
		if err != nil {
			return n, err
		}
		n.Taints = append(n.Taints, t)
	}
	return n, nil
}

func newNodeRemoveCommand(o *options) *cobra.Command {
	var force bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a node with everything of it",
		Long: `End a node and remove everything of it: its Pods, its Node object, its addresses and
its files. A node that holds the data of claims is not removed without --force.
The first node stands for the control plane and stays.`,
		Example: "  minato node remove node-3\n  minato node remove node-3 --grace 30s   # Pods end as with `minato down`",
		Args:    exactlyOne("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			began := time.Now()
			if err := cluster.RemoveNode(cmd.Context(), o.name, args[0], grace, force); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Node %s is removed after %s.\n", args[0], time.Since(began).Round(time.Millisecond))
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove the data of claims on the node as well")
	cmd.Flags().DurationVar(&grace, "grace", 0, "longest grace period that a Pod of the node gets; 0 kills them")
	return cmd
}

func newNodeStopCommand(o *options) *cobra.Command {
	grace := cluster.DefaultGrace
	cmd := &cobra.Command{
		Use:   "stop NAME",
		Short: "Stop a node as a machine is switched off, and keep its data",
		Long: `End the Pods of a node, and then the node. Nothing of that is told to the API server:
after 40 seconds the Node becomes NotReady, and after 5 more minutes, or what their
tolerations say, its Pods are evicted.`,
		Example: "  minato node stop node-3\n  minato node stop node-3 --grace 0s   # as if the power failed",
		Args:    exactlyOne("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cluster.StopNode(cmd.Context(), o.name, args[0], grace); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Node %s is stopped; `minato node start %s` starts it again.\n", args[0], args[0])
			return nil
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", grace, "longest grace period that a Pod of the node gets; 0 kills them")
	return cmd
}

func newNodeStartCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "start NAME",
		Short:   "Start a node that was stopped, and return when it is Ready",
		Example: "  minato node start node-3",
		Args:    exactlyOne("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			began := time.Now()
			st, err := cluster.StartNode(cmd.Context(), o.name, args[0])
			if err != nil {
				return err
			}
			return tellNode(cmd.OutOrStdout(), "", st, "is Ready", began)
		},
	}
}

func newNodeListCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the nodes, also of a cluster that is down",
		Example: "  minato node ls\n  minato node ls -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes, err := cluster.ListNodes(cmd.Context(), o.name)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), nodes)
			}
			return printNodes(cmd.OutOrStdout(), nodes)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func tellNode(out io.Writer, output string, st cluster.NodeStatus, what string, began time.Time) error {
	if output == "json" {
		return printJSON(out, st)
	}
	_, err := fmt.Fprintf(out, "Node %s %s after %s: %s\n", st.Name, what, time.Since(began).Round(time.Millisecond), join(st.IPs))
	return err
}

func printNodes(out io.Writer, nodes []cluster.NodeStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tSTATE\tADDRESS\tPODS\tLABELS\tTAINTS")
	for _, n := range nodes {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
			labels = append(labels, k+"="+n.Labels[k])
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", n.Name, nodeState(n), join(n.IPs), n.Pods, orDash(labels), orDash(taintTexts(n.Taints)))
	}
	return w.Flush()
}

func nodeState(n cluster.NodeStatus) string {
	switch {
	case n.Stopped:
		return "stopped"
	case n.Ready:
		return "ready"
	}
	return "not ready"
}

func taintTexts(taints []corev1.Taint) []string {
	var out []string
	for i := range taints {
		out = append(out, taints[i].ToString())
	}
	return out
}

func orDash(values []string) string {
	if len(values) == 0 {
		return "-"
	}
	return strings.Join(values, ",")
}

// exactlyOne and atMostOne check the number of arguments, with a message that says
// what the argument is.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("`%s` takes one argument, %s; see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())}
		}
		return nil
	}
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("`%s` takes at most one argument, %s; see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())}
		}
		return nil
	}
}
