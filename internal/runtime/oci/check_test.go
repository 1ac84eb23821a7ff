package oci

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// pure is a runtime that checks and never runs anything.
func pure(path string) *Runtime {
	p := program{path: path, recursiveReadOnly: true}
	return &Runtime{
		cfg: Config{Cgroup: host.Cgroup{Path: "minato/c/node-1"}}, oci: p, selinux: true,
		handlers:  map[string]program{"": p, filepath.Base(path): p},
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
	}
}

func TestHandlers(t *testing.T) {
	for program, known := range map[string]string{"/usr/bin/crun": "crun", "/usr/sbin/runc": "runc"} {
		r := pure(program)
		for _, handler := range []string{"", known} {
			if err := r.checkHandler(handler); err != nil {
				t.Errorf("%s: handler %q: %v", program, handler, err)
			}
		}
		for _, handler := range []string{"kata", "gvisor", program, "runsc", map[string]string{"crun": "runc", "runc": "crun"}[known]} {
			if err := r.checkHandler(handler); err == nil || !strings.Contains(err.Error(), `no runtime for "`+handler+`" is configured`) {
				t.Errorf("%s: handler %q: %v", program, handler, err)
			}
		}
	}
}

// How the fields of CRI's messages are dealt with: the test that shows that a
// field is honoured, or values that must be refused. A field that CRI gets in
// later versions fails the test until it is in the table.
type treatment struct {
	honoured string
	refused  func() []any
}

func honoured(by string) treatment    { return treatment{honoured: by} }
func refused(values ...any) treatment { return treatment{refused: func() []any { return values }} }
func nothingToApplyTo(why string) treatment {
	return treatment{honoured: "nothing to apply to: " + why}
}

const noProcess = "a sandbox has no process of its own"

var (
	mappings = []*runtimeapi.IDMapping{{HostId: 100000, Length: 65536}}
	someone  = &runtimeapi.SELinuxOption{Level: "s0:c1"}
	userns   = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: mappings, Gids: mappings}
	apparmor = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
)

func fields() map[reflect.Type]map[string]treatment {
	return map[reflect.Type]map[string]treatment{
		reflect.TypeFor[runtimeapi.LinuxContainerSecurityContext](): {
			"Capabilities":             honoured("TestCapabilities, TestContainerAudit"),
			"Privileged":               honoured("TestConfinement"),
			"NamespaceOptions":         honoured("TestNamespaceOptions"),
			"SelinuxOptions":           refused(someone),
			"RunAsUser":                honoured("TestUsers"),
			"RunAsGroup":               honoured("TestUsers"),
			"RunAsUsername":            honoured("TestUsers"),
			"ReadonlyRootfs":           honoured("TestVolumes"),
			"SupplementalGroups":       honoured("TestUsers"),
			"SupplementalGroupsPolicy": honoured("TestUsers"),
			"NoNewPrivs":               honoured("TestConfinement"),
			"MaskedPaths":              refused([]string{}), // other lists: TestPathsOfTheSpec
			"ReadonlyPaths":            refused([]string{}),
			"Seccomp":                  honoured("TestContainerAudit, TestLocalhostSeccompInAContainer"),
			"Apparmor":                 refused(apparmor),
			"ApparmorProfile":          refused("runtime/default"),
			"SeccompProfilePath":       refused("runtime/default"),
		},
		reflect.TypeFor[runtimeapi.LinuxSandboxSecurityContext](): {
			"NamespaceOptions":         honoured("TestNamespaceOptions"),
			"SelinuxOptions":           refused(someone),
			"RunAsUser":                nothingToApplyTo(noProcess),
			"RunAsGroup":               nothingToApplyTo(noProcess),
			"ReadonlyRootfs":           nothingToApplyTo(noProcess),
			"SupplementalGroups":       nothingToApplyTo(noProcess),
			"SupplementalGroupsPolicy": nothingToApplyTo(noProcess),
			"Privileged":               nothingToApplyTo(noProcess),
			"Seccomp":                  nothingToApplyTo(noProcess),
			"Apparmor":                 refused(apparmor),
			"SeccompProfilePath":       refused("runtime/default"),
		},
		reflect.TypeFor[runtimeapi.NamespaceOption](): {
			"Network": refused(runtimeapi.NamespaceMode_CONTAINER, runtimeapi.NamespaceMode_TARGET), // others: TestHostNamespaces
			"Pid":     honoured("TestNamespaceOptions, TestSharedProcesses, TestTargetProcesses, TestHostNamespaces"),
			"Ipc":     refused(runtimeapi.NamespaceMode_CONTAINER, runtimeapi.NamespaceMode_TARGET),
			// Without the mode TARGET.
			"TargetId":      refused("0123"),
			"UsernsOptions": refused(&runtimeapi.UserNamespace{}, &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE, Uids: mappings}), // others: TestUserNamespace
		},
		reflect.TypeFor[runtimeapi.LinuxContainerResources](): {
			"CpuPeriod":              honoured("TestPodResources, TestContainerLimits"),
			"CpuQuota":               honoured("TestPodResources, TestContainerLimits"),
			"CpuShares":              honoured("TestPodResources, TestContainerLimits"),
			"MemoryLimitInBytes":     honoured("TestPodResources, TestContainerLimits, TestMemoryLimit"),
			"OomScoreAdj":            honoured("TestContainerLimits"),
			"CpusetCpus":             honoured("TestContainerLimits"),
			"CpusetMems":             honoured("TestContainerLimits"),
			"HugepageLimits":         honoured("TestLinuxResources, TestHugePageLimitsInCgroups"),
			"Unified":                honoured("TestUnifiedSettings"),
			"MemorySwapLimitInBytes": honoured("TestLinuxResources"),
		},
		reflect.TypeFor[runtimeapi.Mount](): {
			"ContainerPath":     refused("", "/", "/.."), // others: TestVolumes
			"HostPath":          refused(""),
			"Readonly":          honoured("TestVolumes"),
			"SelinuxRelabel":    refused(true),
			"Propagation":       honoured("TestMountPropagation"),
			"UidMappings":       refused(mappings), // others than the Pod's; those: TestUserNamespace
			"GidMappings":       refused(mappings),
			"RecursiveReadOnly": refused(true),                              // without readonly; with it: TestRecursiveReadOnly
			"Image":             refused(&runtimeapi.ImageSpec{Image: "x"}), // beside a host path; alone: TestVolumes
			"ImageSubPath":      refused("etc"),
		},
		reflect.TypeFor[runtimeapi.LinuxPodSandboxConfig](): {
			"CgroupParent":    refused("/elsewhere", "/minato/c/node-1", "relative"),
			"SecurityContext": honoured("this test"),
			"Sysctls":         refused(map[string]string{"vm.swappiness": "1"}), // others: TestPodSurroundings, TestPodSysctls
			"Overhead":        honoured("TestPodResources"),
			"Resources":       honoured("TestPodResources"),
		},
		reflect.TypeFor[runtimeapi.LinuxContainerConfig](): {
			"Resources":       honoured("this test"),
			"SecurityContext": honoured("this test"),
		},
		reflect.TypeFor[runtimeapi.PodSandboxConfig](): {
			"Metadata":     refused(&runtimeapi.PodSandboxMetadata{}, &runtimeapi.PodSandboxMetadata{Uid: "../x"}),
			"Hostname":     honoured("TestPodSurroundings"),
			"LogDirectory": honoured("TestContainerLife"),
			"DnsConfig":    honoured("TestPodSurroundings"),
			"PortMappings": honoured("TestNetworkAttachment"),
			"Labels":       honoured("TestListsAndFilters"),
			"Annotations":  honoured("PodSandboxStatus"),
			"Linux":        honoured("this test"),
			"Windows":      refused(&runtimeapi.WindowsPodSandboxConfig{}),
		},
		reflect.TypeFor[runtimeapi.ContainerConfig](): {
			"Metadata":    honoured("ContainerStatus"),
			"Image":       honoured("TestContainerLife"),
			"Command":     honoured("TestContainerLife"),
			"Args":        honoured("TestContainerLife"),
			"WorkingDir":  honoured("process"),
			"Envs":        honoured("process"),
			"Mounts":      honoured("TestVolumes"),
			"Devices":     honoured("TestDevicesOfTheNode"),
			"Labels":      honoured("TestListsAndFilters"),
			"Annotations": honoured("TestRuntimeAnnotations"),
			"LogPath":     refused("../../x", "/x"),
			"Stdin":       honoured("streaming_test.go"),
			"StdinOnce":   honoured("streaming_test.go"),
			"Tty":         honoured("streaming_test.go"),
			"Linux":       honoured("this test"),
			"Windows":     refused(&runtimeapi.WindowsContainerConfig{}),
			"CDIDevices":  honoured("TestCDIDevices"),
			"StopSignal":  honoured("TestSignalNumber"),
		},
	}
}

// A whole configuration that is accepted, around a value of one of its messages.
func acceptable() (*runtimeapi.PodSandboxConfig, *runtimeapi.ContainerConfig) {
	pod, c := sandboxConfig("fields"), containerConfig("x")
	pod.Linux.CgroupParent = "/minato/c/node-1/poduid-fields"
	pod.Linux.Resources, c.Linux.Resources = &runtimeapi.LinuxContainerResources{}, &runtimeapi.LinuxContainerResources{}
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: "/srv"}}
	return pod, c
}

func TestEveryFieldIsHonouredOrRefused(t *testing.T) {
	r := pure("/usr/bin/crun")
	check := func(pod *runtimeapi.PodSandboxConfig, c *runtimeapi.ContainerConfig) error {
		sb := r.newSandbox(sandboxState{ID: "sandbox", Config: sandboxConfig("fields")})
		return errors.Join(r.checkSandbox(pod), r.checkContainer(sb, c))
	}
	if err := check(acceptable()); err != nil {
		t.Fatalf("a common Pod is refused: %v", err)
	}
	for typ, table := range fields() {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Tag.Get("protobuf") == "" {
				continue
			}
			how, ok := table[f.Name]
			switch {
			case !ok:
				t.Errorf("%s.%s: neither honoured nor refused", typ.Name(), f.Name)
			case how.refused == nil:
			default:
				for _, value := range how.refused() {
					if err := check(withField(typ, f.Name, value)); err == nil {
						t.Errorf("%s.%s = %v is accepted", typ.Name(), f.Name, value)
					}
				}
			}
			delete(table, f.Name)
		}
		for name := range table {
			t.Errorf("%s has no field %s", typ.Name(), name)
		}
	}
}

// Messages and their parts may be missing.
func TestMissingMessages(t *testing.T) {
	r := pure("/usr/bin/crun")
	sb := r.newSandbox(sandboxState{ID: "sandbox"})
	if err := r.checkSandbox(nil); err == nil {
		t.Error("a sandbox without a UID is accepted")
	}
	for _, c := range []*runtimeapi.ContainerConfig{nil, {}, {Linux: &runtimeapi.LinuxContainerConfig{}}, {Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{}}}} {
		if err := r.checkContainer(sb, c); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	if _, err := r.containerResources(nil); err != nil {
		t.Error(err)
	}
	for _, id := range []func() error{
		func() error { _, err := r.RunPodSandbox(t.Context(), nil, ""); return err },
		func() error { _, err := r.CreateContainer(t.Context(), "none", nil, nil); return err },
		func() error { return r.UpdateContainerResources(t.Context(), "none", nil) },
		func() error { _, err := r.UpdatePodSandboxResources(t.Context(), nil); return err },
	} {
		if err := id(); err == nil {
			t.Error("a call without anything in it succeeds")
		}
	}
}

// withField sets one field in an acceptable configuration, in every message of
// the type.
func withField(typ reflect.Type, name string, value any) (*runtimeapi.PodSandboxConfig, *runtimeapi.ContainerConfig) {
	pod, c := acceptable()
	for _, message := range []any{
		pod, c, pod.Linux, c.Linux, pod.Linux.SecurityContext, c.Linux.SecurityContext,
		pod.Linux.SecurityContext.NamespaceOptions, c.Linux.SecurityContext.NamespaceOptions,
		pod.Linux.Resources, c.Linux.Resources, c.Mounts[0],
	} {
		if v := reflect.ValueOf(message).Elem(); v.Type() == typ {
			v.FieldByName(name).Set(reflect.ValueOf(value))
		}
	}
	return pod, c
}

func TestNamespaceOptions(t *testing.T) {
	const (
		own    = runtimeapi.NamespaceMode_CONTAINER
		pods   = runtimeapi.NamespaceMode_POD
		nodes  = runtimeapi.NamespaceMode_NODE
		target = runtimeapi.NamespaceMode_TARGET
	)
	r := pure("/usr/bin/crun")
	r.containers["mine"] = r.newContainer(containerState{ID: "mine", SandboxID: "sandbox"})
	r.containers["theirs"] = r.newContainer(containerState{ID: "theirs", SandboxID: "another"})
	for _, tc := range []struct {
		name    string
		sandbox *runtimeapi.NamespaceOption
		asked   *runtimeapi.NamespaceOption
		ok      bool
	}{
		{"own processes", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: own}, true},
		{"nothing said", &runtimeapi.NamespaceOption{Pid: own}, nil, true},
		{"shared processes", &runtimeapi.NamespaceOption{Pid: pods}, &runtimeapi.NamespaceOption{Pid: pods}, true},
		{"the node's", &runtimeapi.NamespaceOption{Pid: nodes, Network: nodes, Ipc: nodes}, &runtimeapi.NamespaceOption{Pid: nodes, Network: nodes, Ipc: nodes}, true},
		{"a container of the Pod", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: target, TargetId: "mine"}, true},
		{"a container of another Pod", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: target, TargetId: "theirs"}, false},
		{"a container that is not there", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: target, TargetId: "gone"}, false},
		{"the node's processes, not the Pod", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: nodes}, false},
		{"shared processes, not the Pod", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: pods}, false},
		{"the node's network, not the Pod", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: own, Network: nodes}, false},
		{"the node's IPC, not the Pod", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: own, Ipc: nodes}, false},
		{"the node's users", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: own, UsernsOptions: &runtimeapi.UserNamespace{Mode: nodes}}, true},
		{"users of its own", &runtimeapi.NamespaceOption{Pid: own}, &runtimeapi.NamespaceOption{Pid: own, UsernsOptions: userns}, false},
		{"the Pod's users", &runtimeapi.NamespaceOption{Pid: own, UsernsOptions: userns}, &runtimeapi.NamespaceOption{Pid: own, UsernsOptions: userns}, true},
		{"not the Pod's users", &runtimeapi.NamespaceOption{Pid: own, UsernsOptions: userns}, &runtimeapi.NamespaceOption{Pid: own}, false},
	} {
		pod := sandboxConfig("ns")
		pod.Linux.SecurityContext.NamespaceOptions = tc.sandbox
		sb := r.newSandbox(sandboxState{ID: "sandbox", Config: pod})
		if err := r.checkContainerNamespaces(sb, tc.asked); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// Labels mean something on a kernel with SELinux only.
func TestSELinuxLabels(t *testing.T) {
	r := pure("/usr/bin/crun")
	if err := r.checkSELinux(someone); !errors.Is(err, ErrUnsupported) {
		t.Errorf("with SELinux: %v", err)
	}
	r.selinux = false
	if err := r.checkSELinux(someone); err != nil {
		t.Errorf("without SELinux: %v", err)
	}
}

func TestRuntimeAnnotations(t *testing.T) {
	got := runtimeAnnotations(map[string]string{"io.kubernetes.container.hash": "1", "run.oci.handler": "wasm", "run.oci.hooks.stdout": "/etc/x"})
	if len(got) != 1 || got["io.kubernetes.container.hash"] != "1" {
		t.Errorf("the OCI runtime sees %v", got)
	}
}

func TestLinuxResources(t *testing.T) {
	got := linuxResources(&runtimeapi.LinuxContainerResources{
		CpuPeriod: 1, CpuQuota: -1, CpuShares: 3, MemoryLimitInBytes: 4, MemorySwapLimitInBytes: 5, CpusetCpus: "0", CpusetMems: "0-1",
		Unified: map[string]string{"memory.high": "7"},
	})
	if *got.CPU.Period != 1 || *got.CPU.Quota != -1 || *got.CPU.Shares != 3 || *got.Memory.Limit != 4 || *got.Memory.Swap != 5 ||
		got.CPU.Cpus != "0" || got.CPU.Mems != "0-1" || got.Unified["memory.high"] != "7" {
		t.Errorf("limits = %+v", got)
	}
}

// cgroup2 settings that somebody asks for are given or refused.
func TestUnifiedSettings(t *testing.T) {
	r := pure("/usr/sbin/runc")
	if got, err := r.containerResources(&runtimeapi.LinuxContainerResources{Unified: map[string]string{groupKill: "1"}}); err != nil || got.Unified != nil {
		t.Errorf("a preference on a machine without cgroup2 controllers: %v, %v", got, err)
	}
	if _, err := r.containerResources(&runtimeapi.LinuxContainerResources{Unified: map[string]string{"memory.high": "1"}}); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "memory.high") {
		t.Errorf("a setting that can't be kept: %v", err)
	}
	r.layout.Unified = true
	if got, err := r.containerResources(&runtimeapi.LinuxContainerResources{Unified: map[string]string{"memory.high": "1"}}); err != nil || got.Unified["memory.high"] != "1" {
		t.Errorf("a setting on a machine with cgroup2: %v, %v", got, err)
	}
}

// A list of paths that CRI's caller gives is taken as it is; none given means
// the default ones.
func TestPathsOfTheSpec(t *testing.T) {
	if got := orDefault(nil, defaultMasked[:]); len(got) != len(defaultMasked) {
		t.Errorf("masked by default = %v", got)
	}
	if got := orDefault([]string{"/proc/acpi"}, defaultMasked[:]); len(got) != 1 {
		t.Errorf("masked = %v", got)
	}
}
