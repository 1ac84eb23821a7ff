package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The first help fits on a screen and has every command below a heading; that of
// `up` has every flag once, below headings.
func TestHelpIsGrouped(t *testing.T) {
	out, err := run("--help")
	if lines := strings.Count(out, "\n"); err != nil || lines > 54 {
		t.Errorf("minato --help: %d lines, %v", lines, err)
	}
	for _, heading := range []string{"\nClusters:\n", "\nWork with a cluster:\n", "\nSee where traffic goes", "\nThis program:\n", "\nExit status:\n"} {
		if !strings.Contains(out, heading) {
			t.Errorf("minato --help has no %q:\n%s", heading, out)
		}
	}
	for _, cmd := range newRootCommand().Commands() {
		if line := "\n  " + cmd.Name() + " "; strings.Contains(out, line) == cmd.Hidden {
			t.Errorf("minato --help: %s is listed: %t", cmd.Name(), cmd.Hidden)
		}
	}
	if out, err = run("up", "--help"); err != nil {
		t.Fatal(err)
	}
	headings := []string{"What is mostly asked first:", "Usage:", "Examples:", "Size and data:", "How it is reached:", "Addresses and names:", "An etcd of your own:", "Of every command:"}
	at := 0
	for _, heading := range headings {
		i := strings.Index(out[at:], "\n"+heading+"\n")
		if i < 0 {
			t.Fatalf("up --help has no %q after the earlier ones:\n%s", heading, out)
		}
		at += i
	}
	flags := out[strings.Index(out, "\nSize and data:"):]
	up, _, err := newRootCommand().Find([]string{"up"})
	if err != nil {
		t.Fatal(err)
	}
	up.Flags().VisitAll(func(f *pflag.Flag) {
		if n := len(regexp.MustCompile(`(?m)^ +(-., )?--`+f.Name+`( |$)`).FindAllString(flags, -1)); n != 1 && !f.Hidden {
			t.Errorf("up --help lists --%s %d times", f.Name, n)
		}
	})
}

func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		if out, err := run("completion", shell); err != nil || !strings.Contains(out, "minato") || len(out) < 1000 {
			t.Errorf("completion %s: %d bytes, %v", shell, len(out), err)
		}
	}
	var usage usageError
	for _, args := range [][]string{{"completion"}, {"completion", "csh"}} {
		if _, err := run(args...); !errors.As(err, &usage) || !strings.Contains(err.Error(), "bash|zsh|fish") {
			t.Errorf("%q: %v", args, err)
		}
	}
	for line, want := range map[string]string{
		"up --ip-family ":     "ipv4\nipv6\ndual\n:4\n",
		"status -o ":          "json\n:4\n",
		"completion ":         "bash\nzsh\nfish\n:4\n",
		"down ":               ":4\n",
		"kubeconfig --merge ": ":0\n",
		"image load ":         ":0\n",
	} {
		out, err := run(append([]string{"__completeNoDesc"}, strings.Split(line, " ")...)...)
		out, _, _ = strings.Cut(out, "Completion ended")
		if err != nil || out != want {
			t.Errorf("%q completes to %q, %v; want %q", line, out, err, want)
		}
	}
}
