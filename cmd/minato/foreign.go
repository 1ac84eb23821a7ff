package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

// foreign are the programs that are built in and parse their arguments
// themselves, by their commands.
var foreign = map[string]func(foreignCall) int{
	"kubectl":              runMinatoKubectl,
	cluster.EtcdctlCommand: runEtcdctl,
}

// foreignCall is a command line of ours that is for one of them.
type foreignCall struct {
	command string
	name    string   // of the cluster
	args    []string // the program's own
	err     error    // the name is not given as it must be
}

// findForeign tells whether a command line is for such a program. Ours are --name
// before the program's first argument, on either side of its command, and the
// shell's requests for completions, which the program answers itself.
func findForeign(args []string) (call foreignCall, is bool) {
	call.name = cluster.DefaultName
	var complete []string
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		complete, args = args[:1], args[1:]
	}
	args = call.takeName(args)
	// The shell completes the last word: "kubectl" alone is not yet the command.
	if len(args) == 0 || foreign[args[0]] == nil || complete != nil && len(args) == 1 {
		return call, false
	}
	call.command = args[0]
	args = call.takeName(args[1:])
	if complete != nil && (len(args) == 0 || call.err != nil) {
		return call, false
	}
	call.args = slices.Concat(complete, args)
	return call, true
}

// takeName takes --name from the front of arguments.
func (c *foreignCall) takeName(args []string) []string {
	for len(args) > 0 {
		value, joined := strings.CutPrefix(args[0], "--name=")
		switch {
		case joined:
			c.name, args = value, args[1:]
		case args[0] != "--name":
			return args
		case len(args) == 1:
			c.err = errors.New("flag needs an argument: --name")
			return nil
		default:
			c.name, args = args[1], args[2:]
		}
	}
	return args
}

func (c foreignCall) validate() error {
	if c.err != nil {
		return c.err
	}
	return cluster.ValidateName(c.name)
}

func (c foreignCall) run() int { return foreign[c.command](c) }
