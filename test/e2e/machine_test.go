package e2e

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"minato/internal/host"
)

// machine FILE: writes everything of this machine that a cluster could leave
// behind, for comparison before and after.
func machine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: machine FILE")
	}
	var out bytes.Buffer
	section := func(title string, lines []string) {
		sort.Strings(lines)
		out.WriteString("# " + title + "\n")
		for _, l := range lines {
			out.WriteString(l + "\n")
		}
	}
	section("namespaces", dirNames("/run/netns"))
	section("links", output(ts, `^\d+: ([^:@]+)`, "ip", "-o", "link"))
	section("addresses", output(ts, `inet6? (\S+)`, "ip", "-o", "addr"))
	section("routes", output(ts, `(.+)`, "ip", "route", "show", "table", "all"))
	// The remaining lifetime of what a router advertised is no difference.
	section("IPv6 routes", output(ts, `^(.+?)(?: expires \d+sec.*)?$`, "ip", "-6", "route", "show", "table", "all"))
	section("nftables", output(ts, `(.+)`, "nft", "list", "tables"))
	section("mounts", mounts())
	section("cgroups", cgroups())
	section("forwarding", forwarding())
	section("eBPF programs", output(ts, `\bname (\S+)`, "bpftool", "prog"))
	section("processes", processes(ts.Getenv("NAME")))
	section("state", append(dirNames("/run/minato"), dirNames("/var/lib/minato")...))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o644))
}

func dirNames(dir string) []string {
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, filepath.Join(dir, e.Name()))
	}
	return names
}

// output runs a command and returns what the expression's group matches in each line.
func output(ts *testscript.TestScript, expr, name string, args ...string) []string {
	data, err := exec.Command(name, args...).Output()
	if err != nil {
		ts.Fatalf("%s %v: %v", name, args, err)
	}
	re := regexp.MustCompile(expr)
	var lines []string
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		if m := re.FindStringSubmatch(sc.Text()); m != nil {
			lines = append(lines, strings.TrimSpace(m[1]))
		}
	}
	return lines
}

func mounts() []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	// The directory of namespaces is a mount for as long as it has a name in it,
	// which may be another test's.
	for _, line := range strings.Split(string(data), "\n") {
		// Those in temporary directories are other tests'.
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] != "/run/netns" && !strings.HasPrefix(fields[4], filepath.Join(os.TempDir(), "Test")) {
			points = append(points, fields[4])
		}
	}
	return points
}

func cgroups() []string {
	var found []string
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && !strings.Contains(path, "/mt-") { // other tests'
			found = append(found, path)
		}
		return nil
	})
	return found
}

// forwarding lists what makes a router of the machine, and of its links.
func forwarding() []string {
	var values []string
	for _, pattern := range []string{"ipv4/conf/*/forwarding", "ipv6/conf/*/forwarding", "ipv6/conf/*/accept_ra", "ipv6/conf/*/disable_ipv6"} {
		paths, _ := filepath.Glob("/proc/sys/net/" + pattern)
		for _, path := range paths {
			data, _ := os.ReadFile(path)
			values = append(values, path+" "+strings.TrimSpace(string(data)))
		}
	}
	return values
}

// processes lists the cluster's: the server, what is in the nodes' cgroups, and
// what works in the cluster's directories.
func processes(name string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		cmdline := strings.ReplaceAll(string(args), "\x00", " ")
		ours := strings.Contains(string(cgroup), "minato/"+name) || strings.Contains(cmdline, "minato/"+name+"/") || strings.Contains(cmdline, "server --name "+name)
		// A process without arguments is a zombie that init has not reaped yet.
		if err == nil && ours && cmdline != "" {
			found = append(found, strings.TrimSpace(string(comm))+" "+cmdline)
		}
	}
	return found
}

// killHalf STAGE [FLAG...]: starts `minato up` and kills it and its server as
// soon as the stage is reported.
func killHalf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: killhalf STAGE [FLAG...]")
	}
	cmd := command(ts, "minato", append([]string{"up", "--name", ts.Getenv("NAME")}, args[1:]...)...)
	pipe, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	seen := false
	for sc := bufio.NewScanner(pipe); sc.Scan(); {
		if strings.Contains(sc.Text(), args[0]) {
			seen = true
			break
		}
	}
	killed := time.Now()
	cmd.Process.Kill()
	cmd.Wait()
	if !seen {
		ts.Fatalf("up ended before it told of %q", args[0])
	}
	pid := serverPID(ts)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	ts.Logf("killed up and its server, process %d, at %q, %s after it", pid, args[0], time.Since(killed))
}

// serverPID reads which process is the server.
func serverPID(ts *testscript.TestScript) int {
	data, err := os.ReadFile(filepath.Join("/run/minato", ts.Getenv("NAME"), "lock"))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	ts.Check(err)
	return pid
}

// killServer [-restarts]: kills the server as the kernel would, and first what
// starts it again; with -restarts the server alone.
func killServer(ts *testscript.TestScript, neg bool, args []string) {
	alone := len(args) == 1 && args[0] == "-restarts"
	if neg || len(args) > 0 && !alone {
		ts.Fatalf("usage: killserver [-restarts]")
	}
	if !alone {
		keeper := host.Keeper{Cgroup: host.Cgroup{Path: "minato/" + ts.Getenv("NAME") + "/server"}, Program: "keeper"}
		ts.Check(keeper.End())
	}
	ts.Check(syscall.Kill(serverPID(ts), syscall.SIGKILL))
}
