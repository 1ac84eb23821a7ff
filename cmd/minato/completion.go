package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

// shells are those that completions can be written for.
var shells = []string{"bash", "zsh", "fish"}

func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what has your shell complete minato's command lines",
		Long: `Print a script with which your shell completes commands, flags, and the names of
clusters, nodes, parts and images. "minato kubectl" is completed as kubectl is,
with the objects of the cluster.`,
		Example: `  source <(minato completion bash)                                        # this shell
  minato completion bash > /etc/bash_completion.d/minato                   # every bash
  minato completion zsh > "${fpath[1]}/_minato"                            # every zsh
  minato completion fish > ~/.config/fish/completions/minato.fish          # every fish
  source <(kubectl completion bash)                                       # the link named kubectl`,
		Annotations: map[string]string{clusterless: "true"},
		ValidArgs:   shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usageError{fmt.Errorf("name your shell: `%s %s`", cmd.CommandPath(), strings.Join(shells, "|"))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			}
			return root.GenFishCompletion(out, true)
		},
	}
}

// completer proposes words for an argument or for the value of a flag.
type completer = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective)

// propose is a completer of words that it has to ask for. What can't be asked, as
// without root, is not completed.
func propose(words func(cmd *cobra.Command, args []string) []string) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return words(cmd, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// addCompletions has every command complete the values of the flags that several
// commands have, and no file names where none are taken.
func addCompletions(root *cobra.Command, o *options) {
	names := propose(func(*cobra.Command, []string) []string {
		all, _ := cluster.Names()
		return all
	})
	nodes := propose(func(cmd *cobra.Command, _ []string) []string {
		c, err := cluster.LoadConfig(o.name)
		if err != nil {
			return nil
		}
		var all []string
		for i := range c.Nodes {
			all = append(all, cluster.NodeName(i+1))
		}
		return all
	})
	// A flag that is not there, or that has a completion, is an error that changes
	// nothing.
	_ = root.RegisterFlagCompletionFunc("name", names)
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
		_ = cmd.RegisterFlagCompletionFunc("ip-family", cobra.FixedCompletions([]string{string(cluster.IPv4), string(cluster.IPv6), string(cluster.DualStack)}, cobra.ShellCompDirectiveNoFileComp))
		if cmd.Flags().Lookup("kubeconfig") == nil { // with it, nodes are those of another cluster
			_ = cmd.RegisterFlagCompletionFunc("node", nodes)
		}
		if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil && !strings.Contains(cmd.Use, " ") {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

// completeImages completes the names of images that are not yet among the
// arguments.
func completeImages(o *options) completer {
	return propose(func(_ *cobra.Command, args []string) []string {
		all, _ := cluster.ListImages(o.name)
		var out []string
		for _, image := range all {
			for _, name := range image.Names {
				if !slices.Contains(args, name) {
					out = append(out, name)
				}
			}
		}
		return out
	})
}

// completeParts completes the names of a cluster's parts.
func completeParts(o *options) completer {
	return propose(func(cmd *cobra.Command, args []string) []string {
		if len(args) > 0 {
			return nil
		}
		parts, _, _ := cluster.LogNames(cmd.Context(), o.name)
		return parts
	})
}
