package remote

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
)

// open makes a node's view of a runtime.
func open(t *testing.T, endpoint, node string) *Runtime {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroups are made by root")
	}
	cg := host.Cgroup{Path: fmt.Sprintf("mt-remote-%d-%s", os.Getpid(), node)}
	r, err := New(Config{
		Endpoint: endpoint, Owner: Owner{"c", node}, Cgroup: cg, RunDir: t.TempDir(),
		Addresses: []netip.Addr{netip.MustParseAddr("172.22.0.11")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.122.1.0/24")},
		SeccompDir: "/data/seccomp", Records: Records{Dir: filepath.Join(t.TempDir(), "pods"), Socket: "/run/" + node + ".sock"},
	})
	if errors.Is(err, host.ErrNoCgroup2) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(context.Background()), cg.Delete()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func sandboxOf(r *Runtime, name string, network runtimeapi.NamespaceMode) *runtimeapi.PodSandboxConfig {
	uid := "uid-" + name
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: uid},
		Labels:   map[string]string{labelPodUID: uid, "app": "web"},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    "/" + r.PodCgroup(uid).Path,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Network: network}},
		},
	}
}

// Two nodes share a runtime with somebody else, and neither sees more than its own.
func TestNodesSeeTheirOwn(t *testing.T) {
	f, endpoint := serve(t)
	one, two := open(t, endpoint, "node-1"), open(t, endpoint, "node-2")
	f.sandboxes["somebodys"] = &runtimeapi.PodSandboxConfig{Labels: map[string]string{labelPodUID: "other"}}
	f.address = "10.122.1.5"
	id, err := one.RunPodSandbox(t.Context(), sandboxOf(one, "web", runtimeapi.NamespaceMode_POD), "")
	if err != nil {
		t.Fatal(err)
	}
	for r, want := range map[*Runtime]int{one: 1, two: 0} {
		all, err := r.ListPodSandbox(t.Context(), nil)
		if err != nil || len(all) != want {
			t.Errorf("%s has %v, %v; want %d", r.cfg.Owner.Node, all, err, want)
		}
	}
	if data, err := os.ReadFile(filepath.Join(one.cfg.Records.Dir, "uid-web")); err != nil || string(data) != "/run/node-1.sock\n" {
		t.Errorf("the record is %q, %v", data, err)
	}
	if err := one.RemovePodSandbox(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(one.cfg.Records.Dir); err != nil || len(entries) != 0 {
		t.Errorf("records are left: %v, %v", entries, err)
	}
	if _, err := os.Stat(one.PodCgroup("uid-web").V2()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the Pod's cgroup is left: %v", err)
	}
	if err := Clear(t.Context(), endpoint, Owner{Cluster: "c"}, true); err != nil || f.sandboxes["somebodys"] == nil || f.stopped["somebodys"] {
		t.Errorf("what is somebody else's was touched: %v", err)
	}
}

// A Pod on the node's network is one with a network of its own to the runtime, and
// is what it was to the agent.
func TestPodOnTheNodesNetwork(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	f.address = "172.22.0.11"
	id, err := r.RunPodSandbox(t.Context(), sandboxOf(r, "host", runtimeapi.NamespaceMode_NODE), "")
	if err != nil {
		t.Fatal(err)
	}
	told := f.sandboxes[id]
	if told.GetHostname() != "node-1" || told.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() != runtimeapi.NamespaceMode_POD {
		t.Errorf("the runtime was told %v", told)
	}
	st, err := r.PodSandboxStatus(t.Context(), id, false)
	if err != nil || st.GetStatus().GetLinux().GetNamespaces().GetOptions().GetNetwork() != runtimeapi.NamespaceMode_NODE || st.GetStatus().GetNetwork().GetIp() != "" {
		t.Errorf("the agent is told %v, %v", st, err)
	}
	if data, err := os.ReadFile(filepath.Join(r.cfg.Records.Dir, "uid-host")); err != nil || string(data) != "/run/node-1.sock\nnode\n" {
		t.Errorf("the record is %q, %v", data, err)
	}
	if err := r.RemovePodSandbox(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// A runtime whose network is another one would give Pods that nobody reaches.
func TestOtherNetworkIsRefused(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	for _, address := range []string{"10.88.0.3", "", "172.22.0.11"} {
		f.address = address
		_, err := r.RunPodSandbox(t.Context(), sandboxOf(r, "web", runtimeapi.NamespaceMode_POD), "")
		if err == nil || !strings.Contains(err.Error(), "minato cni install") {
			t.Errorf("address %q: %v", address, err)
		}
		if len(f.sandboxes) != 0 {
			t.Fatalf("the sandbox is left: %v", f.sandboxes)
		}
	}
}

func TestRefusals(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	users := sandboxOf(r, "users", runtimeapi.NamespaceMode_POD)
	users.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD}
	for _, handler := range []string{"", "runc"} {
		if _, err := r.RunPodSandbox(t.Context(), users, handler); err == nil || !strings.Contains(err.Error(), "hostUsers: false") {
			t.Errorf("user namespaces with the handler %q: %v", handler, err)
		}
	}
	elsewhere := sandboxOf(r, "web", runtimeapi.NamespaceMode_POD)
	elsewhere.Linux.CgroupParent = "/kubepods"
	if _, err := r.RunPodSandbox(t.Context(), elsewhere, ""); err == nil || !strings.Contains(err.Error(), "cgroup_parent") {
		t.Errorf("cgroup_parent: %v", err)
	}
	image := &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Mounts: []*runtimeapi.Mount{{ContainerPath: "/models", Image: &runtimeapi.ImageSpec{Image: "sha256:1"}}}}
	if _, err := r.CreateContainer(t.Context(), "x", image, elsewhere); err == nil || !strings.Contains(err.Error(), "mount /models: containerd 1.6.20~ds1 can't mount images") {
		t.Errorf("image volume: %v", err)
	}
	device := &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, CDIDevices: []*runtimeapi.CDIDevice{{Name: "vendor.com/class=one"}}}
	if _, err := r.CreateContainer(t.Context(), "x", device, elsewhere); err == nil || !strings.Contains(err.Error(), "device vendor.com/class=one") {
		t.Errorf("CDI device: %v", err)
	}
	f.mu.Lock()
	f.config = `{"containerd":{"defaultRuntimeName":"runc","runtimes":{"runc":{"options":{"SystemdCgroup":true}}}}}`
	f.mu.Unlock()
	if _, err := Ask(t.Context(), endpoint); err == nil || !strings.Contains(err.Error(), "SystemdCgroup = false") {
		t.Errorf("systemd's cgroups: %v", err)
	}
}

func TestSeccompProfilesAreTheNodes(t *testing.T) {
	r := &Runtime{cfg: Config{SeccompDir: "/data/seccomp"}}
	for ref, want := range map[string]string{
		"audit.json": "/data/seccomp/audit.json", "localhost/a/b.json": "/data/seccomp/a/b.json",
		profilesDir + "/audit.json": "/data/seccomp/audit.json", "../../etc/passwd": "/data/seccomp/etc/passwd",
	} {
		p := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: ref}
		if r.translateSeccomp(p); p.LocalhostRef != want {
			t.Errorf("%s: %s, want %s", ref, p.LocalhostRef, want)
		}
	}
}

// What happens to containers is told, whether or not the runtime sends events.
func TestFollow(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	ctx, cancel := context.WithCancel(t.Context())
	events := r.Events(ctx)
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	f.mu.Lock()
	f.containers["c"] = &runtimeapi.ContainerConfig{Labels: r.cfg.Owner.mark(map[string]string{labelPodUID: "u"})}
	f.states["c"] = runtimeapi.ContainerState_CONTAINER_RUNNING
	f.containers["other"] = &runtimeapi.ContainerConfig{}
	f.mu.Unlock()
	for _, change := range []func(){
		func() {},
		func() { f.states["c"] = runtimeapi.ContainerState_CONTAINER_EXITED },
		func() { delete(f.containers, "c") },
	} {
		f.mu.Lock()
		change()
		f.mu.Unlock()
		select {
		case e := <-events:
			if e != (Event{ContainerID: "c", SandboxID: "sandbox", Type: e.Type, At: e.At}) {
				t.Errorf("event %+v", e)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no event")
		}
	}
	if cg, err := r.ContainerCgroup("c"); err == nil {
		t.Errorf("a container that is gone has the cgroup %v", cg)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHealth(t *testing.T) {
	h, began := &health{}, time.Unix(1000, 0)
	h.begin(began)
	down := errors.New("down")
	for _, c := range []struct {
		after   time.Duration
		err     error
		changed bool
		want    string
	}{
		{0, nil, false, ""}, {10 * time.Second, down, true, ""}, {29 * time.Second, down, false, ""},
		{31 * time.Second, down, false, "container runtime is down"},
		{4 * time.Minute, down, false, "[container runtime is down, PLEG is not healthy: pleg was last seen active 4m0s ago; threshold is 3m0s]"},
		{5 * time.Minute, nil, true, ""},
	} {
		changed := h.note(began.Add(c.after), c.err)
		if got := h.trouble(began.Add(c.after)); changed != c.changed || got != c.want {
			t.Errorf("after %v: %v %q, want %v %q", c.after, changed, got, c.changed, c.want)
		}
	}
}

// Statistics of all Pods don't wait once for each Pod for a runtime that hangs.
func TestNobodyIsAskedWhileTheRuntimeIsDown(t *testing.T) {
	_, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	if _, err := r.PodInterfaces("u"); err != nil {
		t.Error(err)
	}
	r.health.begin(time.Now().Add(-time.Minute))
	if _, err := r.PodInterfaces("u"); err == nil || !strings.Contains(err.Error(), "container runtime is down") {
		t.Errorf("while the runtime is down: %v", err)
	}
}

func TestCollector(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	f.config = `{"sandboxImage":"pause:1"}`
	f.images = []*runtimeapi.Image{
		{Id: "sha256:pause", RepoTags: []string{"pause:1"}}, {Id: "sha256:used", RepoTags: []string{"used:1"}},
		{Id: "sha256:pinned", Pinned: true}, {Id: "sha256:idle", RepoTags: []string{"idle:1"}},
	}
	f.containers["somebodys"] = &runtimeapi.ContainerConfig{Image: &runtimeapi.ImageSpec{Image: "used:1"}}
	young := r.Collector(image.Policy{MinAge: time.Hour})
	if err := young.RemoveUnused(t.Context()); err != nil || len(f.removed) != 0 {
		t.Errorf("removed %v, %v, which are too new", f.removed, err)
	}
	if err := r.Collector(image.Policy{}).RemoveUnused(t.Context()); err != nil || !slices.Equal(f.removed, []string{"sha256:idle"}) {
		t.Errorf("removed %v, %v", f.removed, err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	endpoint := "unix://" + filepath.Join(t.TempDir(), "sock")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := Ask(ctx, endpoint); !errors.Is(err, ErrDown) || !strings.Contains(err.Error(), "start it") {
		t.Errorf("Ask: %v", err)
	}
	if err := Clear(ctx, endpoint, Owner{Cluster: "c"}, true); err != nil {
		t.Errorf("a runtime that is gone has something: %v", err)
	}
	for _, bad := range []string{"", "/run/x.sock", "tcp://127.0.0.1:1", "unix://run/x", "unix:///run/../x"} {
		if _, err := SocketPath(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// One that takes connections and does not answer is told of as one that is down.
func TestRuntimeThatHangs(t *testing.T) {
	_, endpoint := serve(t)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := Ask(ctx, endpoint); err == nil || !strings.Contains(err.Error(), "no container runtime answers at "+endpoint+": start it") {
		t.Errorf("Ask: %v", err)
	}
	if err := Clear(ctx, endpoint, Owner{Cluster: "c"}, true); err == nil || !strings.Contains(err.Error(), endpoint+" can't be removed: start it") {
		t.Errorf("Clear: %v", err)
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string][2]int{"1.6.20~ds1": {1, 6}, "v2.1.0": {2, 1}, "1": {1, 0}, "": {0, 0}, "2.0-rc1": {2, 0}} {
		if major, minor := numbers(text); major != want[0] || (minor != want[1]) {
			t.Errorf("%q: %d.%d", text, major, minor)
		}
	}
}

// The labels of a Pod are its user's: none of them says whose it is, or where.
func TestLabelsOfPodsSayNothing(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	f.address = "10.122.1.5"
	config := sandboxOf(r, "web", runtimeapi.NamespaceMode_POD)
	config.Labels[labelCluster], config.Labels[labelNode], config.Labels[labelNetwork] = "other", "node-2", networkOfNode
	id, err := r.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	if all, err := r.ListPodSandbox(t.Context(), nil); err != nil || len(all) != 1 {
		t.Errorf("the node has %v, %v", all, err)
	}
	st, err := r.PodSandboxStatus(t.Context(), id, false)
	if err != nil || st.GetStatus().GetNetwork().GetIp() != f.address || st.GetStatus().GetLinux().GetNamespaces().GetOptions().GetNetwork() != runtimeapi.NamespaceMode_POD {
		t.Errorf("the agent is told %v, %v", st, err)
	}
	if err := r.RemovePodSandbox(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// Version 1 of cgroups refuses a limit above the node's own, cgroup2 does not.
func TestLimitsAboveTheNodes(t *testing.T) {
	for unified, want := range map[bool]int64{false: 200000, true: 800000} {
		r := &Runtime{cfg: Config{Limits: oci.Limits{CPUs: 2}}, layout: host.CgroupLayout{Unified: unified}}
		res := &runtimeapi.LinuxContainerResources{CpuQuota: 800000, CpuPeriod: 100000, Unified: map[string]string{"memory.oom.group": "1"}}
		if r.translateLimits(res); res.CpuQuota != want || (len(res.Unified) > 0) != unified {
			t.Errorf("cgroup2 %t: %v", unified, res)
		}
	}
	(&Runtime{}).translateLimits(nil)
}

// A runtime is told of huge pages as kubelets tell it: of those of containers. The Pod's are
// limited in its cgroup.
func TestHugePagesOfPods(t *testing.T) {
	limits := func(bytes uint64) *runtimeapi.LinuxContainerResources {
		return &runtimeapi.LinuxContainerResources{CpuShares: 2, HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: bytes}}}
	}
	given := &runtimeapi.PodSandboxConfig{Linux: &runtimeapi.LinuxPodSandboxConfig{Resources: limits(4 << 20), Overhead: limits(2 << 20)}}
	own, _ := (&Runtime{}).sandboxConfig(given)
	if r, o := own.GetLinux().GetResources(), own.GetLinux().GetOverhead(); r.GetHugepageLimits() != nil || o.GetHugepageLimits() != nil || r.GetCpuShares() != 2 {
		t.Errorf("a runtime is told %v, %v", r, o)
	}
	if given.GetLinux().GetResources().GetHugepageLimits() == nil {
		t.Error("the node's own configuration has changed")
	}
	if err := host.HugePagesLimits(); err != nil {
		t.Skip(err)
	}
	f, endpoint := serve(t)
	f.address = "10.122.1.5"
	r := open(t, endpoint, "node-1")
	config := sandboxOf(r, "huge", runtimeapi.NamespaceMode_POD)
	config.Linux.Resources = limits(4 << 20)
	id, err := r.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.PodCgroup("uid-huge").V2(), "hugetlb.2MB.max")
	if root := r.layout.Controllers["hugetlb"]; root != "" {
		file = filepath.Join(root, r.PodCgroup("uid-huge").Path, "hugetlb.2MB.limit_in_bytes")
	}
	if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != "4194304" {
		t.Errorf("the limit of the Pod is %q, %v", text, err)
	}
	config2 := &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "main"}, Linux: &runtimeapi.LinuxContainerConfig{Resources: limits(2 << 20)}}
	container, err := r.CreateContainer(t.Context(), id, config2, config)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.containers[container].GetLinux().GetResources().GetHugepageLimits(); len(got) != 1 || got[0].GetPageSize() != "2MB" || got[0].GetLimit() != 2<<20 {
		t.Errorf("the runtime is told %v of a container", got)
	}
	if err := r.RemovePodSandbox(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// What a container has is what its cgroup says, also where the runtime tells nothing.
func TestResourcesOfAContainer(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	f.address = "10.122.1.5"
	config := sandboxOf(r, "web", runtimeapi.NamespaceMode_POD)
	sandbox, err := r.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "main"}}, config)
	if err != nil {
		t.Fatal(err)
	}
	has := func() *runtimeapi.LinuxContainerResources {
		t.Helper()
		st, err := r.ContainerStatus(t.Context(), id, false)
		if err != nil {
			t.Fatal(err)
		}
		return st.GetStatus().GetResources().GetLinux()
	}
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := has(); got != nil {
		t.Errorf("without a cgroup: %v", got)
	}
	cg := r.PodCgroup("uid-web").Child(id)
	for _, set := range []struct{ controller, v1, v2, one, two string }{
		{"memory", "memory.limit_in_bytes", "memory.max", "67108864", "67108864"},
		{"cpu", "cpu.cfs_quota_us", "cpu.max", "30000", "30000 100000"},
	} {
		dir, unified, err := cg.Controller(set.controller)
		if err != nil {
			t.Skip(err)
		}
		file, text := set.v1, set.one
		if unified {
			file, text = set.v2, set.two
		}
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, file), []byte(text), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := has(); got.GetMemoryLimitInBytes() != 64<<20 || got.GetCpuQuota() != 30000 || got.GetCpuPeriod() != 100000 {
		t.Errorf("it has %v", got)
	}
	if err := r.RemovePodSandbox(t.Context(), sandbox); err != nil {
		t.Error(err)
	}
}
