// Package e2e drives a real kubectl against real clusters, by txtar scripts.
//
// Every script starts a cluster of its own and deletes it. The scripts need
// root, the binary (MINATO) and the images that test/images makes (IMAGES);
// `make test-e2e` provides both.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"minato/internal/host"
)

// clusterName is the cluster of the scripts, so that yours is left alone.
const clusterName = "e2e"

func dirExists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

func TestScripts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	minato, images := os.Getenv("MINATO"), os.Getenv("IMAGES")
	if minato == "" || images == "" {
		t.Skip("needs MINATO (the binary) and IMAGES (the directory of test images); `make test-e2e` sets both")
	}
	churn, err := churnSeconds()
	if err != nil {
		t.Fatal(err)
	}
	if err := deleteClusters(minato); err != nil {
		t.Fatalf("delete what an earlier run left: %v", err)
	}
	if err := sweep(); err != nil {
		t.Fatalf("remove the outside hosts that an earlier run left: %v", err)
	}
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	typed, err := newTranscript(os.Getenv("TRANSCRIPT"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := typed.close(); err != nil {
			t.Errorf("write the transcript: %v", err)
		}
	})
	params := testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, "bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				return err
			}
			for _, name := range []string{"minato", "kubectl"} {
				if err := os.Symlink(minato, filepath.Join(bin, name)); err != nil {
					return err
				}
			}
			env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("KUBECONFIG", filepath.Join(env.WorkDir, "kubeconfig"))
			env.Setenv("IMAGES", images)
			env.Setenv("DEPLOY", deploy)
			env.Setenv("NAME", clusterName)
			env.Setenv("CHURN_SECONDS", churn)
			env.Values[transcriptKey{}] = typed
			typed.script(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
			env.Values[loadsKey] = &loads{}
			env.Values[registriesKey] = map[string]*registryProcess{}
			env.Values[arpingsKey] = &arpings{}
			env.Values[socketsKey] = &openSockets{}
			env.Values[watchedKey] = &watchedCommand{}
			containers := &daemons{}
			env.Values[daemonKey{}] = containers
			script := env.T().(sequential)
			env.Defer(func() {
				// A script that failed leaves its cluster; the log says why.
				if script.Failed() {
					if log, err := os.ReadFile(filepath.Join("/var/lib/minato", clusterName, "minato.log")); err == nil {
						lines := strings.Split(string(log), "\n")
						script.Logf("the cluster's log:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
					}
				}
				if err := deleteClusters(minato); err != nil {
					script.Error(err)
				}
				if err := containers.end(script.Failed(), script.Logf); err != nil {
					script.Errorf("end containerd: %v", err)
				}
				// A script may have given the cluster a disk of its own.
				if dir := filepath.Join("/var/lib/minato", clusterName); host.UnmountAllUnder(dir) != nil || os.Remove(dir) != nil && dirExists(dir) {
					script.Errorf("%s is left", dir)
				}
				if err := sweep(); err != nil {
					script.Errorf("remove the outside hosts: %v", err)
				}
				if err := host.UnmountAllUnder(env.WorkDir); err != nil {
					script.Errorf("unmount what the script mounted: %v", err)
				}
			})
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"$":          typedLine,
			"section":    section,
			"arping":     arping,
			"audit":      audit,
			"eventually": eventually,
			"hugepages":  hugePages,
			"capture":    capture,
			"machine":    machine,
			"containerd": containerdCommand,
			"curl":       curl,
			"killhalf":   killHalf,
			"killserver": killServer,
			"listen":     listen,
			"load":       loadCommand,
			"registry":   registryCommand,
			"resolver":   resolver,
			"sockets":    sockets,
			"expiring":   expiring,
			"watched":    watched,
			"udp":        udp,
			"webhook":    webhook,
			"aggregated": aggregated,
		},
	}
	testscript.RunT(sequential{t}, params)
	// A directory below has scripts of one kind: TestScripts/DIRECTORY/NAME.
	dirs, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if dir.IsDir() {
			t.Run(dir.Name(), func(t *testing.T) {
				if _, err := os.Stat(filepath.Join(images, "csi-provisioner.tar")); err != nil && dir.Name() == "csi" {
					t.Skip("needs images that take minutes to build; `make test-csi` makes them")
				}
				below := params
				below.Dir = filepath.Join("testdata", dir.Name())
				testscript.RunT(sequential{t}, below)
			})
		}
	}
}

// deleteClusters deletes the scripts' cluster, and those beside it whose names begin
// with its name and a hyphen.
func deleteClusters(minato string) error {
	more, err := filepath.Glob(filepath.Join("/var/lib/minato", clusterName+"-*"))
	errs := []error{err}
	for _, path := range append(more, clusterName) {
		name := filepath.Base(path)
		if out, err := exec.Command(minato, "delete", "--ignore-not-found", "--name", name).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("delete cluster %s: %w: %s", name, err, out))
		}
	}
	return errors.Join(errs...)
}

// sweep removes the hosts outside of the cluster that a script makes: the
// namespaces and links whose names begin with mt-e2e. Their routes would
// otherwise lead the next script's packets, and the machine's, astray.
func sweep() error {
	var errs []error
	remove := func(dir string, command ...string) {
		found, err := filepath.Glob(filepath.Join(dir, "mt-e2e*"))
		errs = append(errs, err)
		for _, path := range found {
			command := append(command, filepath.Base(path))
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				errs = append(errs, fmt.Errorf("%v: %w: %s", command, err, out))
			}
		}
	}
	remove("/sys/class/net", "ip", "link", "del")
	remove("/run/netns", "ip", "netns", "del")
	return errors.Join(errs...)
}

// sequential runs the scripts one after the other: their clusters share the
// machine's ranges and ports.
type sequential struct{ *testing.T }

func (s sequential) Parallel() {}

// Run runs f as a subtest.
func (s sequential) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(sequential{t}) })
}

// Log logs what a script printed, which is the last that it does.
func (s sequential) Log(args ...any) {
	s.T.Log(args...)
	if s.Failed() {
		failed.add(s.Name(), fmt.Sprint(args...))
	}
}

// Verbose tells whether to log what passes.
func (s sequential) Verbose() bool { return testing.Verbose() }

// eventuallyFor bounds each wait of a script.
const eventuallyFor = 60 * time.Second

// eventually 'REGEXP' COMMAND ARG...: runs the command until it succeeds and
// what it prints matches. An empty one is anything, and '\A\z' nothing at all: '^$'
// matches whatever ends in a newline.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually 'REGEXP' COMMAND ARG...")
	}
	re, err := regexp.Compile(`(?m)` + args[0])
	ts.Check(err)
	if args[0] != "" && re.MatchString("") && re.MatchString("x\n") {
		ts.Fatalf("eventually: '%s' matches both nothing and anything; write '\\A\\z' for nothing", args[0])
	}
	began := time.Now()
	deadline := began.Add(eventuallyFor)
	for {
		cmd := command(ts, args[1], args[2:]...)
		out, err := cmd.CombinedOutput()
		if err == nil && re.Match(out) {
			transcriptOf(ts).command(shellLine(args[1:]), string(out), nil, time.Since(began))
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %s, %v still answers %v with:\n%s", eventuallyFor, args[1:], err, out)
		}
		pause(50 * time.Millisecond)
	}
}

// capture VAR COMMAND ARG...: sets an environment variable to the trimmed
// standard output.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: capture VAR COMMAND ARG...")
	}
	cmd := command(ts, args[1], args[2:]...)
	cmd.Stderr = ts.Stderr()
	out, err := cmd.Output()
	ts.Check(err)
	ts.Setenv(args[0], strings.TrimSpace(string(out)))
}

// curl COUNT URL: sends bounded requests from this machine, outside of the
// cluster, and writes the names of the Pods that answered to standard output,
// sorted. With ! every one of them must be refused at once; since each Service
// reaches each node in its own time, the first refusal is waited for.
func curl(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: curl COUNT URL")
	}
	var count int
	if _, err := fmt.Sscan(args[0], &count); err != nil || count < 1 || count > 200 {
		ts.Fatalf("curl: COUNT is a number from 1 to 200")
	}
	if neg {
		refused := func() error {
			began := time.Now()
			out, err := command(ts, "/usr/bin/curl", "-sS", "-m", "5", args[1]).CombinedOutput()
			switch {
			case err == nil:
				return fmt.Errorf("answered %s; want it refused", out)
			case !strings.Contains(string(out), "Connection refused") && !strings.Contains(string(out), "Failed to connect"):
				return fmt.Errorf("%s; want it refused", out)
			case time.Since(began) > time.Second:
				return fmt.Errorf("refused only after %s", time.Since(began))
			}
			return nil
		}
		deadline := time.Now().Add(eventuallyFor)
		for err := refused(); err != nil; err = refused() {
			if time.Now().After(deadline) {
				ts.Fatalf("curl %s: after %s still %v", args[1], eventuallyFor, err)
			}
			pause(50 * time.Millisecond)
		}
		for range count - 1 {
			if err := refused(); err != nil {
				ts.Fatalf("curl %s: refused once, and then %v", args[1], err)
			}
		}
		return
	}
	pods := map[string]bool{}
	for range count {
		out, err := command(ts, "/usr/bin/curl", "-sS", "-m", "5", args[1]).CombinedOutput()
		if err != nil {
			ts.Fatalf("curl %s: %v: %s", args[1], err, out)
		}
		if fields := strings.Fields(string(out)); len(fields) > 1 {
			pods[fields[1]] = true // "pod NAME on node NODE ..."
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(pods)) {
		fmt.Fprintln(ts.Stdout(), pod)
	}
}

// listen NETNS ADDRESS: answers HTTP there until the script ends, with the
// address that the client has. NETNS "-" is the machine's own namespace, and an
// address with a slash the path of a socket.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: listen NETNS ADDRESS")
	}
	ns := host.Netns{}
	if args[0] != "-" {
		ns = host.NamedNetns(args[0])
	}
	network, address := "tcp", args[1]
	if strings.Contains(address, "/") {
		network, address = "unix", ts.MkAbs(address)
	}
	l, err := ns.Listen(context.Background(), network, address)
	ts.Check(err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, client)
	})}
	go srv.Serve(l)
	ts.Defer(func() { srv.Close() })
}

// udp [-size BYTES] COUNT ADDRESS: sends datagrams from this machine, one socket
// each, and writes the names of the Pods that answered to standard output, sorted.
func udp(ts *testscript.TestScript, neg bool, args []string) {
	var count int
	question := []byte("who?")
	if len(args) == 4 && args[0] == "-size" {
		size, err := strconv.Atoi(args[1])
		ts.Check(err)
		question, args = make([]byte, size), args[2:]
	}
	if len(args) != 2 || neg {
		ts.Fatalf("usage: udp [-size BYTES] COUNT ADDRESS")
	}
	if _, err := fmt.Sscan(args[0], &count); err != nil || count < 1 || count > 200 {
		ts.Fatalf("udp: COUNT is a number from 1 to 200")
	}
	pods := map[string]bool{}
	for range count {
		conn, err := net.Dial("udp", args[1])
		ts.Check(err)
		conn.SetDeadline(time.Now().Add(2 * time.Second))
		_, err = conn.Write(question)
		ts.Check(err)
		answer := make([]byte, 512)
		n, err := conn.Read(answer)
		conn.Close()
		if err != nil {
			ts.Fatalf("udp %s: %v", args[1], err)
		}
		if fields := strings.Fields(string(answer[:n])); len(fields) > 1 {
			pods[fields[1]] = true
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(pods)) {
		fmt.Fprintln(ts.Stdout(), pod)
	}
}

// command prepares a program with the script's directory and environment.
func command(ts *testscript.TestScript, name string, args ...string) *exec.Cmd {
	path := name
	if !strings.Contains(name, "/") {
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				path = filepath.Join(dir, name)
				break
			}
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, key := range []string{"PATH", "HOME", "KUBECONFIG", "IMAGES", "DEPLOY", "NAME", "WORK", "CRI_CONFIG_FILE"} {
		cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
	}
	return cmd
}

// pause waits between two looks at something that has a deadline.
func pause(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	<-ctx.Done()
}
