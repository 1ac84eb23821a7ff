package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"minato/internal/cluster"
)

func walkCommands(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" {
			walkCommands(sub, visit)
		}
	}
}

// Every command has a help text with an example of itself, and every example is a
// command line that is understood.
func TestEveryCommandHelps(t *testing.T) {
	lines := 0
	walkCommands(newRootCommand(), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())
		out, err := run(append(path[1:], "--help")...)
		if err != nil || cmd.Short == "" || cmd.Example == "" || !strings.Contains(out, "Examples:\n"+cmd.Example) {
			t.Errorf("%s --help: no short text or no example: %v\n%s", cmd.CommandPath(), err, out)
		}
		if cmd.Hidden {
			return
		}
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: the examples don't show it", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			for _, args := range commandLines(line) {
				lines++
				if err := understood(args); err != nil {
					t.Errorf("%s: example %q: %v", cmd.CommandPath(), args, err)
				}
			}
		}
	})
	if lines < 50 {
		t.Errorf("only %d command lines in examples", lines)
	}
}

// commandLines are the calls of minato in a line of a shell.
func commandLines(line string) (calls [][]string) {
	line, _, _ = strings.Cut(line, " # ")
	for _, part := range regexp.MustCompile(`&&|\|| > |[()]`).Split(line, -1) {
		words := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(part, -1)
		if len(words) > 0 && words[0] == "minato" {
			calls = append(calls, words[1:])
		}
	}
	return calls
}

// understood tells whether a command line names a command and flags that there
// are, with values that they take.
func understood(args []string) error {
	if _, is := findForeign(args); is {
		return nil
	}
	cmd, rest, err := newRootCommand().Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// --version is the program's, and no command has flags of a library.
func TestVersionFlag(t *testing.T) {
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

// run runs a command line and returns what it prints.
func run(args ...string) (string, error) {
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := execute(context.Background(), root)
	return out.String(), err
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"up", "--nodez", "3"}, "unknown flag: --nodez; `minato up --help`"},
		{[]string{"up", "extra"}, `"extra": `},
		{[]string{"up", "--pod-cidr", "10.244"}, `--pod-cidr "10.244": give a range such as`},
		{[]string{"up", "--nodes", "abc"}, `--nodes "abc": give a whole number such as 3`},
		{[]string{"up", "--nodes", "99999999999999999999"}, `--nodes 99999999999999999999: the number is out of range`},
		{[]string{"up", "--wait", "30"}, `--wait "30": give a duration such as 30s`},
		{[]string{"up", "--ephemeral=maybe"}, `--ephemeral "maybe": give true or false`},
		{[]string{"up", "--ip-family", "ipv5"}, `--ip-family "ipv5": give ipv4, ipv6 or dual`},
		{[]string{"up", "--wait", "0s"}, "--wait 0s: give a duration"},
		{[]string{"up", "--api-port", "0"}, "--api-port 0: give a port"},
		{[]string{"logs", "--tail", "-2"}, "--tail -2: give how many"},
		{[]string{"logs", "--since", "-1m"}, "--since -1m0s: give a duration"},
		{[]string{"logs", "dns", "etcd"}, "takes one part"},
		{[]string{"kubeconfig", "--merge", "--remove"}, "exclude each other"},
		{[]string{"kubeconfig", "--use"}, "--use goes with --merge"},
		{[]string{"kubeconfig", "file"}, `"file": a file goes with --merge or --remove`},
		{[]string{"up", "--nodes"}, "flag needs an argument: --nodes"},
		{[]string{"status", "-o", "yaml"}, "-o yaml: give json"},
		{[]string{"image", "load"}, "name the files to load"},
		{[]string{"image", "push"}, `unknown command "push"`},
		{[]string{"image", "lod"}, "did you mean `minato image load`"},
		{[]string{"upp"}, `unknown command "upp" for "minato" Did you mean this? up; ` + "`minato --help` lists the commands"},
		{[]string{"upp", "--nodes", "3"}, `unknown command "upp"`},
		{[]string{"up", "--name", "No"}, `--name "No"`},
		{[]string{"--name", "No", "up"}, `--name "No"`},
		{[]string{"version", "--name", "test"}, "--name: `minato version` acts on no cluster"},
		{[]string{"--name", "test", "ls"}, "--name: `minato ls` acts on no cluster"},
		{[]string{"proxy", "--name", "test", "--cleanup"}, "--name: `minato proxy` acts on no cluster"},
		{[]string{"ingress", "match", "http://a/", "-f", "a.yaml", "--name", "test"}, "--name: -f asks no cluster"},
	} {
		_, err := run(test.args...)
		var out bytes.Buffer
		if status := report(&out, err); status != exitUsage {
			t.Errorf("%q: %v has exit status %d", test.args, err, status)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %q does not say %q", test.args, err, test.want)
		}
	}
}

// No flag of any command answers a wrong value with a parser's own words.
func TestWrongValuesAreExplained(t *testing.T) {
	const wrong = "no/such:value,\x7f"
	tried := 0
	walkCommands(newRootCommand(), func(cmd *cobra.Command) {
		cmd.InheritedFlags() // merges them
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			err := cmd.ParseFlags([]string{"--" + f.Name + "=" + wrong})
			if err == nil {
				return
			}
			tried++
			text := flagError(cmd, err).Error()
			for _, word := range []string{"strconv", "time:", "netip", "invalid argument", "ParseAddr", "invalid syntax", "parsing"} {
				if strings.Contains(text, word) {
					t.Errorf("%s --%s (%s): %q", cmd.CommandPath(), f.Name, f.Value.Type(), text)
				}
			}
			if !strings.Contains(text, "--"+f.Name) {
				t.Errorf("%s --%s: %q does not name the flag", cmd.CommandPath(), f.Name, text)
			}
		})
	})
	if tried < 30 {
		t.Errorf("only %d flags refused a wrong value", tried)
	}
}

func TestExitStatus(t *testing.T) {
	missing := fmt.Errorf("delete: %w", cluster.ErrNoCluster)
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("no space"), exitFailed},
		{usageError{errors.New("what?")}, exitUsage},
		{cluster.Config{Name: "No"}.Validate(), exitUsage},
		{missing, exitMissing},
		{errors.Join(errors.New("also"), cluster.ErrNoImage), exitMissing},
		{fmt.Errorf("not ready: %w", cluster.ErrInterrupted), exitInterrupted},
	} {
		var out bytes.Buffer
		if got := report(&out, test.err); got != test.want || (out.Len() == 0) != (test.err == nil) {
			t.Errorf("%v: exit status %d with %q, want %d", test.err, got, out.String(), test.want)
		}
	}
}

// What a signal ended says so, whatever the callee made of it.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := errors.New("no space")
	if err := interrupted(ctx, failed); err != failed {
		t.Errorf("before: %v", err)
	}
	cancel(cluster.ErrInterrupted)
	for _, err := range []error{context.Canceled, fmt.Errorf("ask: %w", context.Canceled)} {
		if got := interrupted(ctx, err); got != cluster.ErrInterrupted {
			t.Errorf("%v: %v", err, got)
		}
	}
	if err := interrupted(ctx, failed); !errors.Is(err, failed) || !errors.Is(err, cluster.ErrInterrupted) {
		t.Errorf("after: %v", err)
	}
	if err := interrupted(ctx, nil); err != nil {
		t.Errorf("done in spite of it: %v", err)
	}
}

func TestFindKubectl(t *testing.T) {
	for _, test := range []struct {
		args string
		is   bool
		name string
		rest string
		err  string
	}{
		{"kubectl get pods --name x", true, "minato", "get pods --name x", ""},
		{"kubectl --name test get pods", true, "test", "get pods", ""},
		{"kubectl --name=test get", true, "test", "get", ""},
		{"--name test kubectl get nodes", true, "test", "get nodes", ""},
		{"--name=test kubectl get nodes", true, "test", "get nodes", ""},
		{"--name one kubectl --name two get", true, "two", "get", ""},
		{"--name kubectl kubectl get", true, "kubectl", "get", ""},
		{"kubectl --help", true, "minato", "--help", ""},
		{"kubectl", true, "minato", "", ""},
		{"kubectl --name", true, "minato", "", "flag needs an argument"},
		{"kubectl --name No get", true, "No", "get", "--name"},
		{"--name kubectl", false, "kubectl", "", ""},
		{"up --name kubectl", false, "minato", "", ""},
		{"", false, "minato", "", ""},
		{"help kubectl", false, "minato", "", ""},
		{"__complete kubectl get po", true, "minato", "__complete get po", ""},
		{"__completeNoDesc --name test kubectl get po", true, "test", "__completeNoDesc get po", ""},
		{"__complete kubectl --name test get po", true, "test", "__complete get po", ""},
		{"__complete kubectl", false, "minato", "", ""},
		{"__complete up --no", false, "minato", "", ""},
	} {
		call, is := findForeign(strings.Fields(test.args))
		if is != test.is || is && (call.name != test.name || strings.Join(call.args, " ") != test.rest) {
			t.Errorf("%q: %t, %q for %q", test.args, is, call.args, call.name)
		}
		if err := call.validate(); is && ((err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: %v, want %q", test.args, err, test.err)
		}
	}
}

// What asks nobody runs without a cluster, and the kubeconfig of a cluster that
// there is not is neither read nor made.
func TestWhatNeedsACluster(t *testing.T) {
	for args, want := range map[string]bool{
		"config set-context x": true, "config --help": false, "config view -h": false, "version --client": false, "": false, "get pods": false,
	} {
		if got := changesConfig(strings.Fields(args)); got != want {
			t.Errorf("changesConfig(%q) = %t", args, got)
		}
	}
	for args, want := range map[string]bool{
		"--kubeconfig x get": true, "get --context=x": true, "exec web -- sh --context=x": false, "get pods": false,
	} {
		if got := namesCluster(strings.Fields(args)); got != want {
			t.Errorf("namesCluster(%q) = %t", args, got)
		}
	}
}

func TestFirstCommand(t *testing.T) {
	named := func(name, kubeconfig string) cluster.Config {
		return cluster.Config{Name: name, Kubeconfig: kubeconfig}
	}
	for _, test := range []struct {
		t    terminal
		c    cluster.Config
		want string
	}{
		{terminal{minato: "minato", kubectl: true}, named("minato", ""), "kubectl get nodes   (or: minato kubectl get nodes)"},
		{terminal{minato: "minato"}, named("minato", ""), "minato kubectl get nodes"},
		{terminal{minato: "bin/minato"}, named("s", ""), "bin/minato kubectl --name s get nodes"},
		{terminal{minato: "minato", kubectl: true}, named("s", "/tmp/s.conf"), "kubectl --kubeconfig /tmp/s.conf get nodes   (or: minato kubectl --name s get nodes)"},
		{terminal{minato: "minato", kubectl: true, kubeconfig: "/tmp/s.conf"}, named("s", "/tmp/s.conf"), "kubectl get nodes   (or: minato kubectl --name s get nodes)"},
		{terminal{minato: "minato", kubectl: true, sudo: true}, named("minato", ""), "sudo kubectl get nodes   (or: sudo minato kubectl get nodes)"},
		{terminal{minato: "/my dir/minato", kubectl: true}, named("minato", "/it's/a.conf"), `kubectl --kubeconfig '/it'\''s/a.conf' get nodes   (or: '/my dir/minato' kubectl get nodes)`},
	} {
		got := test.t.firstCommand(test.c, cluster.UpResult{Kubeconfig: test.c.Kubeconfig})
		if got != test.want {
			t.Errorf("%+v: %s\nwant %s", test.t, got, test.want)
		}
	}
}

func TestListOfClusters(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ranges := func(text string) (r cluster.Ranges) {
		if err := r.Set(text); err != nil {
			t.Fatal(err)
		}
		return r
	}
	all := []cluster.Summary{
		{Name: "minato", State: cluster.StateReady, Nodes: 3, NodesReady: 3, Server: "https://127.0.0.1:6443", LAN: ranges("172.30.0.0/16"),
			PodCIDR: ranges("10.244.0.0/16"), ServiceCIDR: ranges("10.96.0.0/16"), Created: now.Add(-90 * time.Minute)},
		{Name: "old", State: cluster.StateDown, Nodes: 1, Server: "https://127.0.0.1:6444", LAN: ranges("172.31.0.0/16"),
			PodCIDR: ranges("10.245.0.0/16"), ServiceCIDR: ranges("10.97.0.0/16")},
		{Name: "torn", State: cluster.StateUnknown, Error: "its settings are torn"},
	}
	var out bytes.Buffer
	if err := printClusters(&out, all, now); err != nil {
		t.Fatal(err)
	}
	want := `NAME     STATE   NODES   API SERVER               LAN             PODS            SERVICES       AGE
minato   ready   3/3     https://127.0.0.1:6443   172.30.0.0/16   10.244.0.0/16   10.96.0.0/16   90m
old      down    1       https://127.0.0.1:6444   172.31.0.0/16   10.245.0.0/16   10.97.0.0/16   <unknown>
torn     unknown: its settings are torn
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	out.Reset()
	if err := printClusters(&out, nil, now); err != nil || !strings.Contains(out.String(), "`minato up` makes one") {
		t.Errorf("of none: %q, %v", out.String(), err)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 20: "3.0 MiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
