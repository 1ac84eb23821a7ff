package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroup is a heading of a help text, and the flags below it.
type flagGroup struct {
	title string
	flags []string
}

// groupFlags has the command's help list its flags below headings. Flags that are
// in no group come last.
func groupFlags(cmd *cobra.Command, groups ...flagGroup) {
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		var b strings.Builder
		fmt.Fprintf(&b, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
		for _, g := range slices.Concat(groups, []flagGroup{{title: "Others", flags: ungrouped(cmd, groups)}}) {
			set := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
			set.SortFlags = false
			for _, name := range g.flags {
				if f := cmd.LocalFlags().Lookup(name); f != nil {
					set.AddFlag(f)
				}
			}
			if set.HasAvailableFlags() {
				fmt.Fprintf(&b, "\n%s:\n%s", g.title, set.FlagUsages())
			}
		}
		fmt.Fprintf(&b, "\nOf every command:\n%s", cmd.InheritedFlags().FlagUsages())
		_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
		return err
	})
}

func ungrouped(cmd *cobra.Command, groups []flagGroup) []string {
	var out []string
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !slices.ContainsFunc(groups, func(g flagGroup) bool { return slices.Contains(g.flags, f.Name) }) {
			out = append(out, f.Name)
		}
	})
	return out
}
