package node

import (
	"syscall"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	"minato/internal/host"
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
	for limit, want := range map[int64]int64{1 << 30: 1 << 30, 1 << 60: size} {
		c := Config{Dir: dir, Capacity: shared, StorageLimit: limit}
		if err := c.measureDisk(); err != nil || c.Capacity.StorageEphemeral().Value() != want {
			t.Errorf("capacity with a limit of %d = %v, %v; want %d", limit, c.Capacity.StorageEphemeral(), err, want)
		}
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

// A node has the machine's huge pages, or as many as it claims of them, and what is in a pool
// is no memory that Pods may ask for, whichever node has the pages.
func TestHugePagesOfANode(t *testing.T) {
	pools := []host.HugePages{{Size: 2 << 20, Total: 8}, {Size: 1 << 30, Total: 1}}
	c := Config{
		Capacity:  v1.ResourceList{v1.ResourceMemory: resource.MustParse("4Gi")},
		HugePages: func() ([]host.HugePages, error) { return pools, nil },
	}
	has := func() (capacity, allocatable [3]string) {
		var s v1.NodeStatus
		c.setResources(&s, v1.NodeStatus{})
		for i, name := range []v1.ResourceName{"hugepages-2Mi", "hugepages-1Gi", v1.ResourceMemory} {
			cap, all := s.Capacity[name], s.Allocatable[name]
			capacity[i], allocatable[i] = cap.String(), all.String()
			if told := c.podDefaults()[name]; told.Cmp(all) != 0 {
				t.Errorf("Pods are told of %s of %s, and the Node has %s", told.String(), name, all.String())
			}
		}
		return capacity, allocatable
	}
	if capacity, allocatable := has(); capacity != [3]string{"16Mi", "1Gi", "4Gi"} || allocatable != [3]string{"16Mi", "1Gi", "3056Mi"} {
		t.Errorf("all of the machine's: %v, %v", capacity, allocatable)
	}
	c.HugePageLimits = map[int64]int64{2 << 20: 4 << 20, 1 << 30: 0}
	if capacity, allocatable := has(); capacity != [3]string{"4Mi", "0", "4Gi"} || allocatable != [3]string{"4Mi", "0", "3056Mi"} {
		t.Errorf("limited: %v, %v", capacity, allocatable)
	}
	pools[0].Total = 1
	c.MemoryLimit = 4 << 30
	if capacity, allocatable := has(); capacity != [3]string{"2Mi", "0", "4Gi"} || allocatable != [3]string{"2Mi", "0", "4Gi"} {
		t.Errorf("more than the machine has now: %v, %v", capacity, allocatable)
	}
}
