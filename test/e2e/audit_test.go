package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// clusterRoots are the directories in which Minato keeps all clusters.
var clusterRoots = []string{"/var/lib/minato", "/run/minato"}

// audit TABLE: compares every file, directory and socket of the cluster with a
// table of path patterns, kinds and the most that a mode may allow, and then
// looks as the user nobody for something to read.
//
// A line of the table is PATTERN KIND MODE. The first one that fits counts; a
// path that none fits is an error. KIND is dir, file, socket or tree: a tree is
// a directory whose contents are not looked at, because they are a container's
// or the kernel's. Symbolic links have no mode.
func audit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: audit TABLE")
	}
	table, err := parseTable(ts.ReadFile(args[0]), ts.Getenv("NAME"))
	ts.Check(err)
	var faults []string
	for _, root := range clusterRoots {
		found, err := table.compare(filepath.Join(root, ts.Getenv("NAME")))
		ts.Check(err)
		faults = append(faults, found...)
	}
	readable, err := readableByNobody(clusterRoots...)
	ts.Check(err)
	for _, p := range readable {
		faults = append(faults, p+": the user nobody can read or reach it")
	}
	if len(faults) > 0 {
		ts.Fatalf("%d faults:\n%s", len(faults), strings.Join(faults, "\n"))
	}
}

// allowance is one line of the table.
type allowance struct {
	pattern, kind string
	mode          fs.FileMode
}

type auditTable []allowance

func parseTable(text, name string) (auditTable, error) {
	var table auditTable
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(strings.ReplaceAll(line, "$NAME", name))
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %q: want PATTERN KIND MODE", line)
		}
		mode, err := strconv.ParseUint(fields[2], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		if _, err := path.Match(fields[0], ""); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		table = append(table, allowance{fields[0], fields[1], fs.FileMode(mode)})
	}
	return table, nil
}

// compare returns what is below root and not as the table has it.
func (table auditTable) compare(root string) ([]string, error) {
	var faults []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a running cluster replaces files
			return nil
		}
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		a, ok := table.find(p, info)
		owner := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			faults = append(faults, fmt.Sprintf("%s: %v is in no line of the table", p, info.Mode()))
		case info.Mode().Perm()&^a.mode != 0:
			faults = append(faults, fmt.Sprintf("%s: mode %04o allows more than %04o", p, info.Mode().Perm(), a.mode))
		case owner.Uid != 0 && a.kind != "tree":
			faults = append(faults, fmt.Sprintf("%s: belongs to user %d", p, owner.Uid))
		}
		if a.kind == "tree" {
			return fs.SkipDir
		}
		return nil
	})
	return faults, err
}

func (table auditTable) find(p string, info fs.FileInfo) (allowance, bool) {
	kind := "file"
	switch {
	case info.IsDir():
		kind = "dir"
	case info.Mode()&fs.ModeSocket != 0:
		kind = "socket"
	}
	for _, a := range table {
		if ok, _ := path.Match(a.pattern, p); ok && (a.kind == kind || a.kind == "tree" && kind == "dir") {
			return a, true
		}
	}
	return allowance{}, false
}

// nobody is Debian's user of that name.
const nobody = 65534

// readableByNobody lists what a user without any right finds: files that can be
// read, sockets that can be connected to, and directories that can be listed or
// passed through, except for the given ones, which only have clusters' names.
func readableByNobody(dirs ...string) ([]string, error) {
	args := append(append([]string{}, dirs...), "(", "-type", "f", "-readable", "-o", "-type", "s", "-writable",
		"-o", "-type", "d", "(", "-readable", "-o", "-executable", ")", ")", "-print")
	cmd := exec.Command("find", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	var exit *exec.ExitError
	// Directories that it may not open make it end with 1, and that is as it should be.
	if err := cmd.Run(); err != nil && (!errors.As(err, &exit) || !strings.Contains(problems.String(), "Permission denied")) {
		return nil, fmt.Errorf("find as user %d: %w\n%s", nobody, err, problems.String())
	}
	var found []string
	for p := range strings.Lines(out.String()) {
		if p = strings.TrimSpace(p); !isOneOf(p, dirs) {
			found = append(found, p)
		}
	}
	if _, err := os.Stat(dirs[0]); err != nil {
		return nil, err
	}
	return found, nil
}

func isOneOf(p string, list []string) bool {
	for _, one := range list {
		if p == one {
			return true
		}
	}
	return false
}
