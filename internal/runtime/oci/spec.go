package oci

import (
	"encoding/json"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"minato/internal/runtime/image"
)

// Paths below /proc and /sys that containers may not see or not change, where
// CRI's caller does not say so itself.
var (
	defaultMasked = [...]string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	defaultReadonly = [...]string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// specBuilder makes the OCI configuration of one container.
type specBuilder struct {
	r    *Runtime
	sb   *sandbox
	c    *container
	img  *image.Image
	caps hostCapabilities
	// edits come with the container's CDI devices, and runsAs is its user; build sets both.
	edits  []*cdispecs.ContainerEdits
	runsAs specs.User
}

func (b *specBuilder) config() *runtimeapi.ContainerConfig { return b.c.state.Config }

func (b *specBuilder) security() *runtimeapi.LinuxContainerSecurityContext {
	return b.config().GetLinux().GetSecurityContext()
}

// writeSpec writes config.json and notes the user that the container runs as.
func (r *Runtime) writeSpec(sb *sandbox, c *container, img *image.Image) error {
	caps, err := readHostCapabilities()
	if err != nil {
		return err
	}
	b := &specBuilder{r: r, sb: sb, c: c, img: img, caps: caps}
	spec, err := b.build()
	if err != nil {
		return err
	}
	user := spec.Process.User
	c.state.User = &runtimeapi.LinuxContainerUser{Uid: int64(user.UID), Gid: int64(user.GID)}
	for _, gid := range user.AdditionalGids {
		c.state.User.SupplementalGroups = append(c.state.User.SupplementalGroups, int64(gid))
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("write container configuration: %w", err)
	}
	// The environment may hold secrets.
	if err := write(c.runDir, configFile, data); err != nil {
		return fmt.Errorf("write container configuration: %w", err)
	}
	return nil
}

func (b *specBuilder) build() (*specs.Spec, error) {
	process, err := b.process()
	if err != nil {
		return nil, err
	}
	if b.edits, err = b.cdiEdits(); err != nil {
		return nil, err
	}
	addToProcess(process, b.edits)
	if err := checkMapped(b.sb.users(), process.User); err != nil {
		return nil, err
	}
	b.runsAs = process.User
	mounts, err := b.mounts()
	if err != nil {
		return nil, err
	}
	namespaces, err := b.namespaces()
	if err != nil {
		return nil, err
	}
	resources, devices, err := b.resources()
	if err != nil {
		return nil, err
	}
	seccomp, err := b.seccomp(process.Capabilities)
	if err != nil {
		return nil, err
	}
	linux := &specs.Linux{
		Namespaces:        namespaces,
		CgroupsPath:       b.r.cgroupsPath(b.c),
		Resources:         resources,
		Devices:           devices,
		Seccomp:           seccomp,
		RootfsPropagation: b.rootPropagation(),
		UIDMappings:       ociMappings(b.sb.users().GetUids()),
		GIDMappings:       ociMappings(b.sb.users().GetGids()),
	}
	if !b.security().GetPrivileged() {
		linux.MaskedPaths = orDefault(b.security().GetMaskedPaths(), defaultMasked[:])
		linux.ReadonlyPaths = orDefault(b.security().GetReadonlyPaths(), defaultReadonly[:])
	}
	return &specs.Spec{
		Version:     "1.0.2", // what the oldest supported crun and runc understand
		Process:     process,
		Root:        &specs.Root{Path: b.c.rootfs(), Readonly: b.security().GetReadonlyRootfs()},
		Mounts:      mounts,
		Annotations: runtimeAnnotations(b.config().GetAnnotations()),
		Linux:       linux,
	}, nil
}

// runtimeAnnotations are those that the OCI runtime sees. To crun some mean
// something, such as run.oci.handler: only Kubernetes' own pass.
func runtimeAnnotations(all map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range all {
		if strings.HasPrefix(key, "io.kubernetes.") {
			out[key] = value
		}
	}
	return out
}

// orDefault returns the list that the caller gave, or the default one where the
// caller gave none.
func orDefault(asked, def []string) []string {
	if asked == nil {
		return def
	}
	return asked
}

// namespaces are those that the sandbox pins, which the container joins, and
// new ones for the rest.
func (b *specBuilder) namespaces() ([]specs.LinuxNamespace, error) {
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	files := b.sb.namespaces()
	for typ, path := range map[specs.LinuxNamespaceType]string{
		specs.NetworkNamespace: files.net, specs.IPCNamespace: files.ipc, specs.UTSNamespace: files.uts,
		specs.UserNamespace: files.user,
	} {
		if path != "" { // without a type in the list, the container gets this process's namespace
			ns = append(ns, specs.LinuxNamespace{Type: typ, Path: path})
		}
	}
	if b.r.layout.Unified {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	switch opts := b.security().GetNamespaceOptions(); opts.GetPid() {
	case runtimeapi.NamespaceMode_NODE:
	case runtimeapi.NamespaceMode_TARGET:
		target, err := b.r.container(opts.GetTargetId())
		if err != nil {
			return nil, fmt.Errorf("target of the process namespace: %w", err)
		}
		init := target.snapshot().Init
		if !init.alive() {
			return nil, fmt.Errorf("target of the process namespace: %s: %w", opts.GetTargetId(), ErrNotRunning)
		}
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", init.PID)})
	default: // POD has a path only where the sandbox shares one
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: b.podPID(opts)})
	}
	return ns, nil
}

func (b *specBuilder) podPID(opts *runtimeapi.NamespaceOption) string {
	if opts == nil || opts.GetPid() != runtimeapi.NamespaceMode_POD {
		b.c.state.SharedPID = false
		return ""
	}
	path := b.sb.namespaces().pid
	b.c.state.SharedPID = path != ""
	return path
}
