package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minato/internal/host"
)

// program is the OCI runtime that was chosen.
type program struct {
	path   string // crun or runc
	conmon string
	root   string // where it keeps its state
	// recursiveReadOnly says that it can mount a volume read-only with all that is
	// mounted in it: crun and runc since 1.1, on Linux since 5.12.
	recursiveReadOnly bool
	// users says that it can put containers into a user namespace: crun and runc.
	users bool
}

// Check tells whether the programs that containers need are installed.
func Check() error {
	layout, err := host.Cgroups()
	if err != nil {
		return err
	}
	_, err = findPrograms(Config{}, layout)
	return err
}

// Programs are the paths of the programs that containers need.
func Programs() ([]string, error) {
	layout, err := host.Cgroups()
	if err != nil {
		return nil, err
	}
	p, err := findPrograms(Config{}, layout)
	return []string{p.conmon, p.path}, err
}

func findPrograms(cfg Config, layout host.CgroupLayout) (program, error) {
	p := program{recursiveReadOnly: true, users: true}
	var noConmon, noRuntime error
	p.conmon, noConmon = lookPath(cfg.Conmon, "conmon")
	p.path, noRuntime = findRuntime(cfg.Runtime, layout)
	if err := errors.Join(noConmon, noRuntime); err != nil {
		return p, err
	}
	if cfg.RunDir != "" {
		p.root = filepath.Join(cfg.RunDir, "runtime")
	}
	return p, nil
}

// findRuntime prefers crun, which starts a container in a third of the time.
// crun refuses to work where version 1 hierarchies and cgroup2 share the
// controllers out between them; runc doesn't.
func findRuntime(configured string, layout host.CgroupLayout) (string, error) {
	if configured != "" {
		return lookPath(configured, configured)
	}
	mixed := !layout.Unified && hasControllers(layout.V2Root)
	if !mixed {
		if path, err := lookPath("", "crun"); err == nil {
			return path, nil
		}
	}
	path, err := lookPath("", "runc")
	if err == nil {
		return path, nil
	}
	if mixed {
		return "", fmt.Errorf("%w (this machine's cgroup2 carries some controllers beside version 1, which crun does not support)", err)
	}
	return "", fmt.Errorf("crun is not there either: %w; run `apt-get install crun`", err)
}

func hasControllers(v2root string) bool {
	data, err := os.ReadFile(filepath.Join(v2root, "cgroup.controllers"))
	return err == nil && len(bytes.TrimSpace(data)) > 0
}

// hasController tells whether cgroup2 carries the controller.
func hasController(v2root, name string) bool {
	data, err := os.ReadFile(filepath.Join(v2root, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(data)), name)
}

// sbinDirs is where Debian puts programs that a user's PATH may leave out.
var sbinDirs = [...]string{"/usr/sbin", "/usr/local/sbin", "/usr/lib/cri-o-runc/sbin", "/usr/libexec/podman"}

func lookPath(configured, name string) (string, error) {
	if configured == "" {
		configured = name
	}
	path, err := exec.LookPath(configured)
	if err == nil {
		// The real name tells crun from runc.
		return filepath.EvalSymlinks(path)
	}
	if !strings.Contains(configured, "/") {
		for _, dir := range sbinDirs {
			if path, err := exec.LookPath(filepath.Join(dir, configured)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s is not installed (%w): run `apt-get install %s`", configured, err, name)
}

// runtimeTimeout bounds commands that have nothing to wait for.
const runtimeTimeout = 30 * time.Second

// runOCI runs a command of the OCI runtime of a container, such as "start", and
// returns what it complains about.
func (r *Runtime) runOCI(ctx context.Context, c *container, args ...string) error {
	p := r.programOf(c)
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, append([]string{"--root", p.root}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	done, err := r.placeInCgroup(cmd, r.conmonCgroup())
	if err != nil {
		return err
	}
	defer done()
	if err = r.cfg.MountNS.Do(cmd.Start); err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		text := runtimeMessage(stderr.String())
		if text == "" {
			return fmt.Errorf("%s %s: %w", filepath.Base(p.path), args[0], err)
		}
		return errors.New(text)
	}
	return nil
}

// runtimeMessage takes the text out of runc's log lines; crun writes plain ones.
func runtimeMessage(stderr string) string {
	var out []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if _, rest, ok := strings.Cut(line, ` msg="`); ok && strings.HasPrefix(line, "time=") {
			line = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(rest, `"`))
		}
		if line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "; ")
}

// Program is a program that the runtime runs.
type Program struct {
	Name    string `json:"name"` // such as "crun"
	Version string `json:"version"`
	Path    string `json:"path"`
}

// Programs asks the programs that the runtime runs for their versions.
func (r *Runtime) Programs(ctx context.Context) ([]Program, error) {
	var out []Program
	for _, path := range []string{r.oci.path, r.oci.conmon} {
		version, err := programVersion(ctx, path)
		if err != nil {
			return nil, err
		}
		out = append(out, Program{Name: filepath.Base(path), Version: version, Path: path})
	}
	return out, nil
}

// programVersion is the last word of the first line that a program prints about
// its version.
func programVersion(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	words := strings.Fields(first)
	if len(words) == 0 {
		return "", fmt.Errorf("%s --version prints nothing", path)
	}
	return words[len(words)-1], nil
}
