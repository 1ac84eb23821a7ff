package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command has a help text with an example, and refuses unknown arguments
// with a remedy.
func TestEveryCommandHelps(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: no short text or no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(newRootCommand())
}

// --version is the program's, and no command has flags of a library.
func TestVersionFlag(t *testing.T) {
	run := func(args ...string) (string, error) {
		root := newRootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(args)
		err := root.Execute()
		return out.String(), err
	}
	if out, err := run("--version"); err != nil || !strings.HasPrefix(out, "minato ") || strings.Count(out, "\n") != 1 {
		t.Errorf("--version: %q, %v; want one line with the version", out, err)
	}
	if out, err := run("up", "--help"); err != nil || strings.Contains(out, "--version") {
		t.Errorf("up --help lists --version:\n%s%v", out, err)
	}
	var usage usageError
	if _, err := run("up", "--version"); !errors.As(err, &usage) {
		t.Errorf("up --version: %v; want it refused", err)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"up", "--nodez", "3"}, "unknown flag: --nodez; `minato up --help`"},
		{[]string{"up", "extra"}, `"extra": `},
		{[]string{"up", "--pod-cidr", "10.244"}, "give a range such as"},
		{[]string{"status", "-o", "yaml"}, "-o yaml: give json"},
		{[]string{"image", "load"}, "name the files to load"},
		{[]string{"image", "pull"}, `unknown command "pull"`},
		{[]string{"up", "--name", "No"}, `--name "No"`},
	} {
		root := newRootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(test.args)
		err := root.Execute()
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("%q: %v is no usage error", test.args, err)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %q does not say %q", test.args, err, test.want)
		}
	}
}

func TestSplitName(t *testing.T) {
	for _, test := range []struct {
		args []string
		name string
		rest string
		fail bool
	}{
		{[]string{"get", "pods", "--name", "x"}, "minato", "get pods --name x", false},
		{[]string{"--name", "test", "get", "pods"}, "test", "get pods", false},
		{[]string{"--name=test", "get"}, "test", "get", false},
		{[]string{"--name"}, "", "", true},
		{[]string{"--name", "No", "get"}, "No", "get", true},
		{nil, "minato", "", false},
	} {
		name, rest, err := splitName(test.args)
		if (err != nil) != test.fail || name != test.name || strings.Join(rest, " ") != test.rest {
			t.Errorf("splitName(%q) = %q, %q, %v", test.args, name, rest, err)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 20: "3.0 MiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
