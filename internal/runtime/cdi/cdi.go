// Package cdi looks up devices of the Container Device Interface
// (https://github.com/cncf-tags/container-device-interface) in the specs that drivers
// have put on a node, and tells what a container is to be given with them.
//
// It reads the specs in the node's root directory, without following a link out of it,
// each time that it is asked: a driver writes one just before the container starts. It
// changes nothing; what its edits come to in an OCI configuration is the runtime's
// matter.
package cdi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"minato/internal/host"
)

// Dirs are where specs lie on a node; a device in a later one replaces a device of the
// same name in an earlier one.
var dirs = [...]string{"/etc/cdi", "/var/run/cdi"}

// Bounds of what a Pod with a hostPath may have put there.
const (
	maxFiles = 1024
	maxSize  = 4 << 20
)

// Root is the node's root directory.
type Root interface {
	// OpenPath opens a file with O_PATH, which does nothing to it.
	OpenPath(path string) (*os.File, error)
	OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error)
}

// device is one that a spec describes.
type device struct {
	edits *specs.ContainerEdits
	spec  *specs.Spec
	path  string
	level int
	// twice is another spec of the same level that has the device too.
	twice string
}

// Names, as the interface's specification has them.
var (
	kind      = regexp.MustCompile(`^` + vendorClass + `$`)
	qualified = regexp.MustCompile(`^` + vendorClass + `=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$`)
)

const vendorClass = `[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?`

// ErrUnknown is that of a device that no spec describes.
var ErrUnknown = errors.New("no CDI spec on the node describes it")

// Edits returns what containers are given with the devices of these qualified names
// (VENDOR/CLASS=NAME): those of each spec as a whole first, then those of the devices.
// An error names the device, and what was wrong with specs that could not be read.
func Edits(root Root, names []string) ([]*specs.ContainerEdits, error) {
	if len(names) == 0 {
		return nil, nil
	}
	known, broken := read(root)
	var out []*specs.ContainerEdits
	var seen []*specs.Spec
	for _, name := range names {
		if !qualified.MatchString(name) {
			return nil, fmt.Errorf("CDI device %q: a name has the form VENDOR/CLASS=NAME", name)
		}
		d := known[name]
		if d == nil {
			return nil, errors.Join(fmt.Errorf("CDI device %s: %w, in %s", name, ErrUnknown, strings.Join(dirs[:], " or ")), broken)
		}
		if d.twice != "" {
			return nil, fmt.Errorf("CDI device %s: the specs %s and %s both describe it", name, d.path, d.twice)
		}
		if !slices.Contains(seen, d.spec) {
			seen = append(seen, d.spec)
			out = append(out, &d.spec.ContainerEdits)
		}
		out = append(out, d.edits)
	}
	return out, nil
}

// read collects the devices of all specs. Specs that can't be read are skipped, and why
// is returned.
func read(root Root) (map[string]*device, error) {
	known := map[string]*device{}
	var broken []error
	for level, dir := range dirs {
		names, err := list(root, dir)
		if err != nil {
			broken = append(broken, err)
		}
		for _, name := range names {
			full := path.Join(dir, name)
			spec, err := readSpec(root, full)
			if err != nil {
				broken = append(broken, fmt.Errorf("CDI spec %s: %w", full, err))
				continue
			}
			for i := range spec.Devices {
				add(known, spec, &spec.Devices[i], full, level)
			}
		}
	}
	return known, errors.Join(broken...)
}

func add(known map[string]*device, spec *specs.Spec, d *specs.Device, full string, level int) {
	name := spec.Kind + "=" + d.Name
	if old := known[name]; old != nil && old.level == level {
		old.twice = full
		return
	}
	known[name] = &device{edits: &d.ContainerEdits, spec: spec, path: full, level: level}
}

// list names the specs of a directory, sorted. A missing directory has none.
func list(root Root, dir string) ([]string, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("%s has more than %d files", dir, maxFiles)
	}
	var names []string
	for _, e := range entries {
		if ext := path.Ext(e.Name()); ext == ".json" || ext == ".yaml" {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// readSpec opens what is there only if it is a regular file: a device may do something
// when it is opened, such as start a watchdog.
func readSpec(root Root, full string) (*specs.Spec, error) {
	mark, err := root.OpenPath(full)
	if err != nil {
		return nil, err
	}
	defer mark.Close()
	info, err := mark.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	f, err := os.Open(host.FilePath(mark))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("it has more than %d bytes", maxSize)
	}
	return parse(data)
}

// parse reads a spec and validates it as the interface's specification wants it
// (SPEC.md of the interface).
func parse(data []byte) (*specs.Spec, error) {
	spec := &specs.Spec{}
	if err := yaml.UnmarshalStrict(data, spec); err != nil {
		return nil, err
	}
	if !kind.MatchString(spec.Kind) {
		return nil, fmt.Errorf("kind: %q has not the form VENDOR/CLASS", spec.Kind)
	}
	if len(spec.Devices) == 0 {
		return nil, errors.New("it has no devices")
	}
	if err := valid(&spec.ContainerEdits); err != nil {
		return nil, err
	}
	for i := range spec.Devices {
		d := &spec.Devices[i]
		if !qualified.MatchString(spec.Kind + "=" + d.Name) {
			return nil, fmt.Errorf("device %q: it is no name; letters and digits are, and _, -, . and : between them", d.Name)
		}
		if err := valid(&d.ContainerEdits); err != nil {
			return nil, fmt.Errorf("device %q: %w", d.Name, err)
		}
	}
	// At the end: it wants lists without nulls.
	if err := specs.ValidateVersion(spec); err != nil {
		return nil, err
	}
	return spec, nil
}

// valid refuses edits that say too little, and lists with nothing in them.
func valid(e *specs.ContainerEdits) error {
	if slices.Contains(e.DeviceNodes, nil) || slices.Contains(e.Mounts, nil) || slices.Contains(e.Hooks, nil) || slices.Contains(e.NetDevices, nil) {
		return errors.New("containerEdits: an element of a list is null")
	}
	for _, v := range e.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return fmt.Errorf("containerEdits.env: %q has not the form NAME=VALUE", v)
		}
	}
	for _, d := range e.DeviceNodes {
		switch {
		case d.Path == "":
			return errors.New("containerEdits.deviceNodes: path is required")
		case !slices.Contains([]string{"", "b", "c", "u", "p"}, d.Type):
			return fmt.Errorf("containerEdits.deviceNodes: the type %q is none of b, c, u and p", d.Type)
		case d.Permissions != "none" && strings.Trim(d.Permissions, "rwm") != "":
			return fmt.Errorf("containerEdits.deviceNodes: the permissions %q have other letters than r, w and m", d.Permissions)
		}
	}
	for _, m := range e.Mounts {
		if m.HostPath == "" || m.ContainerPath == "" {
			return errors.New("containerEdits.mounts: hostPath and containerPath are required")
		}
	}
	for _, h := range e.Hooks {
		if h.HookName == "" || h.Path == "" {
			return errors.New("containerEdits.hooks: hookName and path are required")
		}
	}
	return nil
}
