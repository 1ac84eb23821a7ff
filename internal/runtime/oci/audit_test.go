package oci

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	containerd "github.com/containerd/containerd/v2/pkg/oci"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/capability"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What each container of a Pod without any wishes may do, and what one with
// seccompProfile RuntimeDefault and one that is "restricted" may do. The golden
// files hold what containerd's defaults give (contrib/seccomp, pkg/oci's
// default spec, CRI's default capabilities).
func TestContainerAudit(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("audit"))
	for name, edit := range map[string]func(*runtimeapi.LinuxContainerSecurityContext){
		"default": func(*runtimeapi.LinuxContainerSecurityContext) {},
		"runtime-default": func(sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
		},
		"restricted": func(sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
			sc.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}
			sc.NoNewPrivs, sc.RunAsUser = true, &runtimeapi.Int64Value{Value: 1000}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := containerConfig("audit")
			cfg.LogPath = name + "/0.log"
			edit(cfg.Linux.SecurityContext)
			id := n.run(sb, cfg)
			if st := n.awaitExit(id); st.GetExitCode() != 0 {
				t.Fatalf("audit: %v: %q", st, n.logLines(id))
			}
			var b strings.Builder
			for _, line := range n.logLines(id) {
				line = strings.TrimPrefix(line, "stdout: ")
				// Without a filter the kernel answers, and not every kernel has every call.
				if name == "default" && strings.HasPrefix(line, "call ") {
					continue
				}
				fmt.Fprintln(&b, line)
			}
			got, file := b.String(), filepath.Join("testdata", "container-"+name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(forLibseccomp(forOpenFiles(t, string(want))), "\n"), strings.Split(forLibseccomp(got), "\n")); diff != "" {
				t.Errorf("what a container may do has changed (-want +got):\n%s", diff)
			}
		})
	}
}

// The defaults that no caller overrides are those of containerd's library.
func TestDefaultsAreContainerds(t *testing.T) {
	ctx := namespaces.WithNamespace(t.Context(), "minato")
	theirs, err := containerd.GenerateSpec(ctx, nil, &containers.Container{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var full hostCapabilities
	for _, c := range capability.ListKnown() {
		full = append(full, capabilityName(c))
	}
	caps, err := full.forContainer(nil)
	if err != nil {
		t.Fatal(err)
	}
	// What depends on the machine's processors is in the kubelet's list, too.
	masked := slices.DeleteFunc(theirs.Linux.MaskedPaths, func(p string) bool { return strings.HasSuffix(p, "/thermal_throttle") })
	for name, lists := range map[string][2][]string{
		"capabilities":    {caps.Bounding, theirs.Process.Capabilities.Bounding},
		"masked paths":    {defaultMasked[:], masked},
		"read-only paths": {defaultReadonly[:], theirs.Linux.ReadonlyPaths},
	} {
		if diff := cmp.Diff(slices.Sorted(slices.Values(lists[1])), slices.Sorted(slices.Values(lists[0]))); diff != "" {
			t.Errorf("%s (-containerd +ours):\n%s", name, diff)
		}
	}
}

// forOpenFiles puts in the limit of open files that there is on a machine where
// this process may not raise its own, such as a container.
func forOpenFiles(t *testing.T, audit string) string {
	t.Helper()
	caps, err := readHostCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(caps, "SYS_RESOURCE") {
		return audit
	}
	limits, err := caps.rlimits()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(audit, "1048576 1048576 files", fmt.Sprintf("%d %d files", limits[0].Soft, limits[0].Hard))
}

// forLibseccomp leaves out calls that containerd's profile allows, and that
// reach the filter only where the runtime's libseccomp knows their numbers.
func forLibseccomp(audit string) string {
	out, err := exec.Command("runc", "--version").Output()
	if err == nil && strings.Contains(string(out), "libseccomp: 2.5.") {
		return audit // that knows none of them
	}
	var kept []string
	for line := range strings.Lines(audit) {
		switch {
		case strings.HasPrefix(line, "call statmount"), strings.HasPrefix(line, "call listmount"), strings.HasPrefix(line, "call lsm_"):
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
