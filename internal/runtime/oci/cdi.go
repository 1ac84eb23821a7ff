package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"minato/internal/runtime/cdi"
)

// cdiEdits looks up the container's CDI devices, and refuses what a container can't be
// given with one: programs that run as the machine's root outside of the node (hooks),
// interfaces of the machine's network, and shares of caches.
func (b *specBuilder) cdiEdits() ([]*cdispecs.ContainerEdits, error) {
	var names []string
	for _, d := range b.config().GetCDIDevices() {
		names = append(names, d.GetName())
	}
	edits, err := cdi.Edits(b.r.cfg.MountNS.Root(), names)
	if err == nil {
		err = checkEdits(names, edits)
	}
	return edits, err
}

func checkEdits(names []string, edits []*cdispecs.ContainerEdits) error {
	for _, e := range edits {
		switch {
		case len(e.Hooks) > 0:
			return fmt.Errorf("CDI devices %s: hooks: %w: they would run %s as root of the machine, outside of the node; use a spec without hooks", strings.Join(names, ", "), ErrUnsupported, e.Hooks[0].Path)
		case len(e.NetDevices) > 0:
			return fmt.Errorf("CDI devices %s: netDevices: %w: interfaces of the machine are not moved to containers", strings.Join(names, ", "), ErrUnsupported)
		case e.IntelRdt != nil:
			return fmt.Errorf("CDI devices %s: intelRdt: %w: caches of processors are not divided", strings.Join(names, ", "), ErrUnsupported)
		}
	}
	return nil
}

// addToProcess sets the variables and groups that come with CDI devices. HOME stays the
// last variable, as it is where runc adds it: Kubernetes' own specs look for lines in what
// env prints, and read it without the end of the last one.
func addToProcess(p *specs.Process, edits []*cdispecs.ContainerEdits) {
	for _, e := range edits {
		for _, v := range e.Env {
			name, _, _ := strings.Cut(v, "=")
			p.Env = slices.DeleteFunc(p.Env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
			at := len(p.Env)
			if at > 0 && strings.HasPrefix(p.Env[at-1], "HOME=") {
				at--
			}
			p.Env = slices.Insert(p.Env, at, v)
		}
		for _, gid := range e.AdditionalGIDs {
			if gid != 0 && !slices.Contains(p.User.AdditionalGids, gid) {
				p.User.AdditionalGids = append(p.User.AdditionalGids, gid)
			}
		}
	}
}

// cdiMounts are the mounts that come with CDI devices. Sources are paths on the node.
func (b *specBuilder) cdiMounts() ([]specs.Mount, error) {
	var out []specs.Mount
	for _, e := range b.edits {
		for _, m := range e.Mounts {
			mount := specs.Mount{Destination: filepath.Clean("/" + m.ContainerPath), Type: m.Type, Source: m.HostPath, Options: slices.Clone(m.Options)}
			bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
			switch {
			case bind || m.Type == "" || m.Type == "none":
				mount.Type = "bind"
				if !bind || m.Type == "bind" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
					mount.Options = append(mount.Options, "rbind")
				}
				source, err := b.r.cfg.MountNS.Root().EvalSymlinks(m.HostPath)
				if err != nil {
					return nil, fmt.Errorf("mount %s of a CDI device: %w", m.ContainerPath, err)
				}
				mount.Source = source
			case m.Type == "tmpfs":
			default:
				return nil, fmt.Errorf("mount %s of a CDI device: the type %s: %w: use bind or tmpfs", m.ContainerPath, m.Type, ErrUnsupported)
			}
			out = slices.DeleteFunc(out, func(old specs.Mount) bool { return old.Destination == mount.Destination })
			out = append(out, mount)
		}
	}
	return out, nil
}

// cdiDevices are the device nodes that come with CDI devices, and the rules that let
// the container use them.
func (b *specBuilder) cdiDevices() (devices []specs.LinuxDevice, rules []specs.LinuxDeviceCgroup, err error) {
	for _, e := range b.edits {
		for _, n := range e.DeviceNodes {
			d, err := b.cdiDevice(n)
			if err != nil {
				return nil, nil, fmt.Errorf("device node %s of a CDI device: %w", n.Path, err)
			}
			devices = append(slices.DeleteFunc(devices, func(old specs.LinuxDevice) bool { return old.Path == d.Path }), d)
			access := n.Permissions
			switch access {
			case "":
				access = "rwm"
			case "none":
				continue
			}
			if d.Type == "b" || d.Type == "c" {
				rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: access})
			}
		}
	}
	return devices, rules, nil
}

// cdiDevice completes a device node with what the node has at its path, where the spec
// leaves that out.
func (b *specBuilder) cdiDevice(n *cdispecs.DeviceNode) (specs.LinuxDevice, error) {
	source := n.HostPath
	if source == "" {
		source = n.Path
	}
	d, err := b.r.deviceOnNode(source, n.Path)
	whole := n.Type == "p" || n.Type != "" && n.Major != 0
	switch {
	case err != nil && !whole:
		return d, err
	case err != nil || whole:
		mode := d.FileMode
		d = specs.LinuxDevice{Path: n.Path, Type: n.Type, Major: n.Major, Minor: n.Minor, FileMode: mode}
	case n.Type != "" && n.Type != d.Type:
		return d, fmt.Errorf("it is of the type %s, and the spec says %s", d.Type, n.Type)
	}
	if d.Type == "u" {
		d.Type = "c" // an unbuffered character device, to mknod(1)
	}
	uid, gid := b.runsAs.UID, b.runsAs.GID
	d.UID, d.GID = &uid, &gid
	for _, set := range []struct{ to, from **uint32 }{{&d.UID, &n.UID}, {&d.GID, &n.GID}} {
		if *set.from != nil {
			*set.to = *set.from
		}
	}
	if n.FileMode != nil {
		mode := os.FileMode(*n.FileMode)
		d.FileMode = &mode
	}
	return d, nil
}
