package oci

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

func deviceBuilder(config *runtimeapi.ContainerConfig, edits ...*cdispecs.ContainerEdits) *specBuilder {
	r := pure("/usr/bin/crun")
	return &specBuilder{
		r: r, sb: r.newSandbox(sandboxState{ID: "sandbox", Config: sandboxConfig("devices")}),
		c: &container{state: containerState{Config: config}}, edits: edits, runsAs: specs.User{UID: 1000, GID: 2000},
	}
}

// What a CDI device brings reaches the process, its mounts, its devices and the rules of
// its cgroup; what can't be given is refused.
func TestCDIDevices(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	uid := uint32(7)
	b := deviceBuilder(containerConfig("x"), &cdispecs.ContainerEdits{
		Env: []string{"A=new", "B=1"}, AdditionalGIDs: []uint32{0, 44},
		DeviceNodes: []*cdispecs.DeviceNode{
			{Path: "/dev/given", HostPath: "/dev/null"}, {Path: "/dev/whole", Type: "b", Major: 1, Minor: 9, UID: &uid, Permissions: "r"},
			{Path: "/dev/hidden", HostPath: "/dev/zero", Permissions: "none"},
		},
		Mounts: []*cdispecs.Mount{
			{HostPath: filepath.Join(dir, "link"), ContainerPath: "/lib/x", Options: []string{"ro", "nosuid"}},
			{HostPath: "tmpfs", ContainerPath: "/scratch", Type: "tmpfs", Options: []string{"size=1m"}},
		},
	})
	p := &specs.Process{Env: []string{"A=old", "AB=2", "HOME=/"}}
	addToProcess(p, b.edits)
	if !slices.Equal(p.Env, []string{"AB=2", "A=new", "B=1", "HOME=/"}) || !slices.Equal(p.User.AdditionalGids, []uint32{44}) {
		t.Errorf("the process has %v and %v", p.Env, p.User.AdditionalGids)
	}
	home := &specs.Process{Env: []string{"HOME=/"}}
	addToProcess(home, []*cdispecs.ContainerEdits{{Env: []string{"HOME=/x", "C=3"}}})
	if !slices.Equal(home.Env, []string{"C=3", "HOME=/x"}) {
		t.Errorf("a device with a home gives %v", home.Env)
	}
	mounts, err := b.cdiMounts()
	if err != nil || len(mounts) != 2 || mounts[0].Source != dir || mounts[0].Type != "bind" || !slices.Contains(mounts[0].Options, "rbind") || !slices.Contains(mounts[0].Options, "ro") || mounts[1].Type != "tmpfs" {
		t.Errorf("mounts %v, %v", mounts, err)
	}
	devices, rules, err := b.devices()
	if err != nil || len(devices) != 3 || len(rules) != 3 {
		t.Fatalf("devices %v, rules %v, %v", devices, rules, err)
	}
	if d := devices[0]; d.Path != "/dev/given" || d.Type != "c" || d.Major != 1 || d.Minor != 3 || *d.UID != 1000 || *d.GID != 2000 {
		t.Errorf("a device that the node has: %+v", d)
	}
	if d := devices[1]; d.Path != "/dev/whole" || d.Type != "b" || d.Major != 1 || d.Minor != 9 || *d.UID != 7 {
		t.Errorf("a device that the spec describes: %+v", d)
	}
	if rules[0].Allow || !rules[1].Allow || *rules[1].Minor != 3 || rules[1].Access != "rwm" || rules[2].Access != "r" {
		t.Errorf("rules %+v", rules)
	}
	for name, e := range map[string]*cdispecs.ContainerEdits{
		"hooks": {Hooks: []*cdispecs.Hook{{HookName: "createRuntime", Path: "/bin/x"}}}, "netDevices": {NetDevices: []*cdispecs.LinuxNetDevice{{}}}, "intelRdt": {IntelRdt: &cdispecs.IntelRdt{}},
	} {
		if err := checkEdits([]string{"a.b/c=d"}, []*cdispecs.ContainerEdits{e}); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, e := range map[string]*cdispecs.ContainerEdits{
		"a type of mounts": {Mounts: []*cdispecs.Mount{{HostPath: "/dev/sda", ContainerPath: "/x", Type: "ext4"}}},
		"a missing source": {Mounts: []*cdispecs.Mount{{HostPath: "/nowhere", ContainerPath: "/x"}}},
	} {
		if _, err := deviceBuilder(containerConfig("x"), e).cdiMounts(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for name, n := range map[string]*cdispecs.DeviceNode{"absent": {Path: "/dev/nowhere"}, "no device": {Path: "/etc"}, "of another type": {Path: "/dev/null", Type: "b"}} {
		if _, _, err := deviceBuilder(containerConfig("x"), &cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{n}}).devices(); err == nil {
			t.Errorf("a device node that is %s is taken", name)
		}
	}
}

// Devices are looked up on the node; of a directory, all below it are given.
func TestDevicesOfTheNode(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, "null")); err != nil {
		t.Fatal(err)
	}
	config := containerConfig("x")
	config.Devices = []*runtimeapi.Device{{HostPath: filepath.Join(dir, "null"), ContainerPath: "/dev/n", Permissions: "rw"}, {HostPath: "/dev/full", Permissions: "r"}}
	devices, rules, err := deviceBuilder(config).devices()
	if err != nil || len(devices) != 2 || devices[0].Path != "/dev/n" || devices[0].Minor != 3 || devices[1].Path != "/dev/full" || rules[1].Access != "rw" || *rules[2].Minor != 7 {
		t.Errorf("devices %+v, rules %+v, %v", devices, rules, err)
	}
	for _, path := range []string{dir, "/nowhere", "/etc/passwd"} {
		config.Devices = []*runtimeapi.Device{{HostPath: path}}
		if _, _, err := deviceBuilder(config).devices(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// In a Pod's own user namespace only those at their own paths can be shown.
	b := deviceBuilder(config)
	b.sb = b.r.newSandbox(sandboxState{ID: "s", Config: &runtimeapi.PodSandboxConfig{Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: &runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD}},
	}}}})
	config.Devices = []*runtimeapi.Device{{HostPath: "/dev/full", ContainerPath: "/dev/full"}}
	if _, _, err := b.devices(); err != nil {
		t.Error(err)
	}
	config.Devices = []*runtimeapi.Device{{HostPath: "/dev/full", ContainerPath: "/dev/other"}}
	if _, _, err := b.devices(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a device at another path, in a user namespace: %v", err)
	}
}
