package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"minato/internal/host"
)

// handlerRule is the API's rule for the handler of a RuntimeClass.
var handlerRule = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// CheckHandlers tells whether the programs, by the names of their handlers, can
// run containers on this machine.
func CheckHandlers(handlers map[string]string) error {
	layout, err := host.Cgroups()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		_, err := newHandler(name, handlers[name], layout)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// HandlerNames are what RuntimeClasses may name on a node with these handlers:
// them, and the default OCI runtime by its own name. It is nil where that can't
// be told.
func HandlerNames(handlers map[string]string) []string {
	layout, err := host.Cgroups()
	if err != nil {
		return nil
	}
	path, err := findRuntime("", layout)
	if err != nil {
		return nil
	}
	names := slices.AppendSeq([]string{filepath.Base(path)}, maps.Keys(handlers))
	slices.Sort(names)
	return slices.Compact(names)
}

// newHandler finds the program of a handler.
func newHandler(name, path string, layout host.CgroupLayout) (program, error) {
	if !handlerRule.MatchString(name) {
		return program{}, fmt.Errorf("runtime handler %q: a name is up to 63 characters of a-z, 0-9 and -, as the handler of a RuntimeClass", name)
	}
	if strings.Contains(path, "/") && !filepath.IsAbs(path) {
		return program{}, fmt.Errorf("runtime handler %s: %s is no absolute path, nor the name of a program", name, path)
	}
	found, err := lookPath(path, path)
	if err != nil {
		return program{}, fmt.Errorf("runtime handler %s: %s can't be run (%w): give the path of an OCI runtime", name, path, errors.Unwrap(err))
	}
	p := program{path: found}
	version, err := p.ask("--version")
	if err != nil {
		return p, fmt.Errorf("runtime handler %s: %s is no OCI runtime that works here: %w", name, path, err)
	}
	isCrun := bytes.HasPrefix(version, []byte("crun "))
	if isCrun && !layout.Unified && hasControllers(layout.V2Root) {
		return p, fmt.Errorf("runtime handler %s: %s is crun, which does not support this machine, whose cgroup2 carries some controllers beside version 1; use runc", name, path)
	}
	if isCrun || bytes.HasPrefix(version, []byte("runc ")) {
		p.recursiveReadOnly, p.users = true, true
		return p, nil
	}
	has := p.features()
	p.recursiveReadOnly = slices.Contains(has.MountOptions, "rro")
	p.users = slices.Contains(has.Linux.Namespaces, "user")
	return p, nil
}

// ask runs a command of the program that only prints something.
func (p program) ask(command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, p.path, command).Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", p.path, command, err)
	}
	return out, nil
}

// programFeatures is what is needed of the features that the OCI runtime
// specification describes.
type programFeatures struct {
	MountOptions []string `json:"mountOptions"`
	Linux        struct {
		Namespaces []string `json:"namespaces"`
	} `json:"linux"`
}

// features asks the program. One that does not know the question has none.
func (p program) features() (has programFeatures) {
	out, err := p.ask("features")
	if err != nil || json.Unmarshal(out, &has) != nil {
		return programFeatures{}
	}
	return has
}

// findHandlers finds the programs of the handlers beside the default one, which
// is also known by its own name. One that has gone from the machine is left out:
// only its own Pods can't be made.
func (r *Runtime) findHandlers() {
	own := filepath.Base(r.oci.path)
	r.handlers = map[string]program{"": r.oci, own: r.oci}
	for name, path := range r.cfg.Handlers {
		p, err := newHandler(name, path, r.layout)
		if err != nil {
			r.log.Warn("a runtime handler can't be used; its Pods are refused", "handler", name, "error", err)
			continue
		}
		// Programs do not read each other's state.
		p.conmon, p.root = r.oci.conmon, filepath.Join(r.cfg.RunDir, "runtime-"+name)
		r.handlers[name] = p
	}
}

// checkHandler refuses a handler that there is not.
func (r *Runtime) checkHandler(handler string) error {
	if _, known := r.handlers[handler]; known {
		return nil
	}
	// The text is containerd's.
	return fmt.Errorf("no runtime for %q is configured: this node has %q; change the handler of the Pod's RuntimeClass", handler, r.handlerNames()[1:])
}

// handlerNames are sorted, that of the default one, which is empty, first.
func (r *Runtime) handlerNames() []string { return slices.Sorted(maps.Keys(r.handlers)) }

// programOf is the OCI runtime that has made a container, or is to make it.
func (r *Runtime) programOf(c *container) program {
	if c.state.Program == "" { // an earlier version had only one
		return r.oci
	}
	return program{path: c.state.Program, conmon: r.oci.conmon, root: c.state.ProgramRoot}
}
