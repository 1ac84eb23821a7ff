package oci

import (
	"os"
	"path/filepath"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// TestContainersDoNotSwap has cgroups of version 2, in which a container without a limit may swap unless it is told not to.
func TestContainersDoNotSwap(t *testing.T) {
	r := pure("/usr/sbin/runc")
	r.layout.Unified = true
	root := t.TempDir()
	r.cfg.Cgroup = host.Cgroup{Root: root, Path: "node-1"}
	swap := func(in *runtimeapi.LinuxContainerResources) (string, bool) {
		t.Helper()
		got, err := r.containerResources(in)
		if err != nil {
			t.Fatal(err)
		}
		v, ok := got.Unified[noSwap]
		return v, ok
	}
	if v, ok := swap(&runtimeapi.LinuxContainerResources{}); ok {
		t.Errorf("on a kernel without accounts of swap it may have %s", v)
	}
	if err := os.MkdirAll(filepath.Join(root, "node-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "node-1", noSwap), []byte("max"), 0o644); err != nil {
		t.Fatal(err)
	}
	if v, _ := swap(&runtimeapi.LinuxContainerResources{}); v != "0" {
		t.Errorf("a container without a limit may swap %q", v)
	}
	if v, ok := swap(&runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 5, MemorySwapLimitInBytes: 5}); ok {
		t.Errorf("a container whose limit is of memory and swap together may swap %q", v)
	}
	if v, _ := swap(&runtimeapi.LinuxContainerResources{Unified: map[string]string{noSwap: "7"}}); v != "7" {
		t.Errorf("what somebody asks for became %q", v)
	}
}
