package oci

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/capability"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestCapabilities(t *testing.T) {
	var full hostCapabilities
	for _, c := range capability.ListKnown() {
		full = append(full, capabilityName(c))
	}
	caps := func(add, drop, ambient []string, privileged bool) []string {
		t.Helper()
		out, err := full.forContainer(&runtimeapi.LinuxContainerSecurityContext{
			Privileged:   privileged,
			Capabilities: &runtimeapi.Capability{AddCapabilities: add, DropCapabilities: drop, AddAmbientCapabilities: ambient},
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(out.Bounding, out.Effective) || !slices.Equal(out.Bounding, out.Permitted) || !slices.Equal(out.Ambient, out.Inheritable) {
			t.Errorf("sets differ: %v", out)
		}
		if len(ambient) > 0 != (len(out.Ambient) > 0) {
			t.Errorf("ambient = %v", out.Ambient)
		}
		return out.Bounding
	}
	if got := caps(nil, nil, nil, false); len(got) != len(defaultCapabilities) {
		t.Errorf("default = %v", got)
	}
	if got := caps([]string{"NET_ADMIN"}, []string{"ALL"}, nil, false); !slices.Equal(got, []string{"CAP_NET_ADMIN"}) {
		t.Errorf("drop ALL, add one = %v", got)
	}
	if got := caps(nil, []string{"ALL"}, []string{"NET_ADMIN"}, false); !slices.Equal(got, []string{"CAP_NET_ADMIN"}) {
		t.Errorf("drop ALL, add one as ambient = %v", got)
	}
	if got := caps([]string{"ALL"}, []string{"cap_sys_admin"}, nil, false); len(got) != len(full)-1 || slices.Contains(got, "CAP_SYS_ADMIN") {
		t.Errorf("add ALL, drop one = %v", got)
	}
	if got := caps(nil, []string{"ALL"}, nil, true); len(got) != len(full) {
		t.Errorf("privileged = %v", got)
	}
	few := hostCapabilities{"NET_BIND_SERVICE"}
	if got, err := few.forContainer(&runtimeapi.LinuxContainerSecurityContext{Privileged: true}); err != nil || !slices.Equal(got.Bounding, []string{"CAP_NET_BIND_SERVICE"}) {
		t.Errorf("privileged on a poor machine = %v, %v", got, err)
	}
	for name, want := range map[string]string{"SYS_TIME": "the node does not have this capability", "SYS_TIEM": "no such capability"} {
		for _, c := range []*runtimeapi.Capability{{AddCapabilities: []string{name}}, {AddAmbientCapabilities: []string{name}}} {
			_, err := few.forContainer(&runtimeapi.LinuxContainerSecurityContext{Capabilities: c})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%v: %v, want an error that says %q", c, err, want)
			}
		}
	}
}
