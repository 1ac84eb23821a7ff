package node

import (
	"syscall"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	"minato/internal/node/fakecri"
	"minato/internal/node/settings"
)

func TestCapacityOfTheDisk(t *testing.T) {
	dir := t.TempDir()
	shared := v1.ResourceList{v1.ResourceCPU: resource.MustParse("2")}
	defaults, err := (*settings.Kubelet)(nil).Values()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Dir: dir, Capacity: shared, Settings: defaults}
	if err := c.measureDisk(); err != nil {
		t.Fatal(err)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	size := int64(fs.Blocks) * fs.Bsize
	if got := c.Capacity.StorageEphemeral().Value(); got != size {
		t.Errorf("capacity = %d, want %d", got, size)
	}
	allocatable := c.allocatable()
	if got := allocatable.StorageEphemeral().Value(); got != size-512<<20 {
		t.Errorf("allocatable = %d, want %d without 512Mi, the threshold of eviction", got, size)
	}
	if allocatable.Cpu().Value() != 2 || len(shared) != 1 {
		t.Errorf("allocatable = %v, and the list that was given became %v", allocatable, shared)
	}
	c.Capacity[v1.ResourceMemory] = resource.MustParse("512Mi")
	if got := c.allocatable(); got.Memory().String() != "512Mi" {
		t.Errorf("allocatable memory of a node without a limit = %v", got.Memory())
	}
	c.MemoryLimit = 512 << 20
	if got := c.allocatable(); got.Memory().String() != "412Mi" || c.Capacity.Memory().String() != "512Mi" {
		t.Errorf("allocatable memory = %v of %v, want what is above the threshold of eviction", got.Memory(), c.Capacity.Memory())
	}
	c.Capacity[v1.ResourceEphemeralStorage] = resource.MustParse("10Gi")
	if err := c.measureDisk(); err != nil || c.Capacity.StorageEphemeral().String() != "10Gi" {
		t.Errorf("what was given became %v, %v", c.Capacity, err)
	}
}

func TestNodeReportsEphemeralStorage(t *testing.T) {
	client := fake.NewClientset()
	start(t, client, fakecri.New(clock.RealClock{}), t.TempDir())
	n, err := client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	capacity, allocatable := n.Status.Capacity.StorageEphemeral(), n.Status.Allocatable.StorageEphemeral()
	if capacity.Sign() <= 0 || allocatable.Sign() <= 0 || allocatable.Cmp(*capacity) >= 0 {
		t.Errorf("capacity %v, allocatable %v; want both, and the second to be less", capacity, allocatable)
	}
	if n.Status.Allocatable.Pods().Value() != 110 || n.Status.Capacity.Pods().Value() != 110 {
		t.Errorf("Pods: %v of %v", n.Status.Allocatable.Pods(), n.Status.Capacity.Pods())
	}
}
