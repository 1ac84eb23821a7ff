package oci

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
			if diff := cmp.Diff(strings.Split(forLibseccomp(string(want)), "\n"), strings.Split(forLibseccomp(got), "\n")); diff != "" {
				t.Errorf("what a container may do has changed (-want +got):\n%s", diff)
			}
		})
	}
}

// forLibseccomp leaves out calls that containerd's profile allows, and that
// reach the filter only where the runtime's libseccomp knows their numbers.
func forLibseccomp(audit string) string {
	out, err := exec.Command("runc", "--version").Output()
	if err != nil || strings.Contains(string(out), "libseccomp: 2.5.") {
		return audit
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
