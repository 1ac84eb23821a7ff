package cluster

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/api/resource"

	"minato/internal/host"
	"minato/internal/member"
)

// Claim is what each node has of the machine, and its Pods get no more; what is 0
// is all of it. The claims of all nodes may add up to more than the machine has.
type Claim struct {
	CPUs   int64 `json:"cpus,omitempty"`
	Memory Size  `json:"memory,omitempty"`
	// PIDs counts processes and threads.
	PIDs int64 `json:"pids,omitempty"`
	// EphemeralStorage is what the node's own files and its Pods' may take of the disk,
	// without claims' and images.
	EphemeralStorage Size `json:"ephemeralStorage,omitempty"`
	// HugePages are those of each size that is in it; of others it is all of them.
	HugePages HugePages `json:"hugePages,omitempty"`
}

// claim is what a node has: what is its own, and else what every node of the cluster has.
func (c Config) claim(n NodeSpec) Claim {
	own := n.Claim
	if own.CPUs == 0 {
		own.CPUs = c.Claim.CPUs
	}
	if own.Memory == 0 {
		own.Memory = c.Claim.Memory
	}
	if own.PIDs == 0 {
		own.PIDs = c.Claim.PIDs
	}
	if own.EphemeralStorage == 0 {
		own.EphemeralStorage = c.Claim.EphemeralStorage
	}
	own.HugePages = maps.Clone(c.Claim.HugePages)
	for size, bytes := range n.Claim.HugePages {
		own.HugePages = own.HugePages.with(size, bytes)
	}
	return own
}

// validateClaims returns an error for the first claim that no machine can meet.
func (c Config) validateClaims() error {
	if err := c.Claim.validate(); err != nil {
		return err
	}
	for _, n := range c.NodeList {
		if err := n.Claim.validate(); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// checkClaims tells what this machine can't give the nodes that run.
func (c Config) checkClaims() error {
	errs := []error{c.Claim.check()}
	for _, n := range c.NodeList {
		if !n.Stopped && !n.Removing {
			errs = append(errs, c.checkClaim(n))
		}
	}
	return errors.Join(errs...)
}

// checkClaim is the same for what one node has other than all of them.
func (c Config) checkClaim(n NodeSpec) error {
	if err := n.Claim.check(); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return nil
}

// Size is a number of bytes, and a flag with Kubernetes' suffixes, such as 4Gi.
type Size int64

// Set implements pflag.Value.
func (s *Size) Set(text string) error {
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 4Gi or 512Mi", text)
	}
	*s = Size(q.Value())
	return nil
}

// String implements pflag.Value.
func (s *Size) String() string {
	if *s == 0 {
		return ""
	}
	return resource.NewQuantity(int64(*s), resource.BinarySI).String()
}

// Type implements pflag.Value.
func (s *Size) Type() string { return "SIZE" }

// What a node needs at least: the thresholds for eviction and a few Pods beyond that,
// and the processes that start containers.
const (
	minNodeMemory  = 256 << 20
	minNodePIDs    = 128
	minNodeStorage = 1 << 30
)

// validate returns an error for the first setting that no machine can have.
func (c Claim) validate() error {
	switch {
	case c.CPUs < 0:
		return fmt.Errorf("--node-cpu %d: give a number of CPUs, or 0 for all of the machine's", c.CPUs)
	case c.Memory != 0 && c.Memory < minNodeMemory:
		return fmt.Errorf("--node-memory %s: a node needs at least %dMi", c.Memory.String(), minNodeMemory>>20)
	case c.PIDs != 0 && c.PIDs < minNodePIDs:
		return fmt.Errorf("--node-pids %d: a node needs at least %d", c.PIDs, minNodePIDs)
	}
	if c.EphemeralStorage != 0 && c.EphemeralStorage < minNodeStorage {
		return fmt.Errorf("--node-ephemeral-storage %s: a node needs at least %dGi", c.EphemeralStorage.String(), minNodeStorage>>30)
	}
	return c.HugePages.validate()
}

// check tells what this machine can't give a node.
func (c Claim) check() error {
	var errs []error
	if have := int64(runtime.NumCPU()); c.CPUs > have {
		errs = append(errs, fmt.Errorf("--node-cpu %d: this machine has %d CPUs, and a node can't have more", c.CPUs, have))
	}
	if c.Memory != 0 {
		memory, err := host.MachineMemory()
		if err == nil && int64(c.Memory) > memory.Total {
			have := Size(memory.Total)
			err = fmt.Errorf("--node-memory %s: this machine has %s, and a node can't have more", c.Memory.String(), have.String())
		}
		errs = append(errs, err)
	}
	if c.EphemeralStorage != 0 {
		size, err := diskSize(dataRoot)
		if err == nil && c.EphemeralStorage > size {
			err = fmt.Errorf("--node-ephemeral-storage %s: the disk of %s has %s, and a node can't have more", c.EphemeralStorage.String(), dataRoot, size.String())
		}
		errs = append(errs, err)
	}
	for _, claimed := range []struct {
		flag, controller string
		is               bool
	}{{"--node-cpu", "cpu", c.CPUs != 0}, {"--node-memory", "memory", c.Memory != 0}, {"--node-pids", "pids", c.PIDs != 0}} {
		if !claimed.is {
			continue
		}
		if _, _, err := (host.Cgroup{}).Controller(claimed.controller); err != nil {
			errs = append(errs, fmt.Errorf("%s can't be enforced: %w: leave it out, or boot with a kernel that has the cgroup controller", claimed.flag, err))
		}
	}
	return errors.Join(append(errs, c.HugePages.check(host.MachineHugePages))...)
}

// diskSize is that of the file system that a directory is on, or will be once it is made.
func diskSize(dir string) (Size, error) {
	var fs syscall.Statfs_t
	err := syscall.Statfs(dir, &fs)
	for ; errors.Is(err, syscall.ENOENT) && dir != "/"; err = syscall.Statfs(dir, &fs) {
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("measure the disk that %s is on: %w", dir, err)
	}
	return Size(int64(fs.Blocks) * fs.Bsize), nil
}

// member is the claim for a node.
func (c Claim) member() member.Claim {
	return member.Claim{CPUs: c.CPUs, Memory: int64(c.Memory), Processes: c.PIDs, Storage: int64(c.EphemeralStorage), HugePages: c.HugePages.bytes()}
}

// String says what a node has, as flags.
func (c Claim) String() string {
	var flags []string
	if c.CPUs != 0 {
		flags = append(flags, fmt.Sprintf("--node-cpu %d", c.CPUs))
	}
	if c.Memory != 0 {
		flags = append(flags, "--node-memory "+c.Memory.String())
	}
	if c.PIDs != 0 {
		flags = append(flags, fmt.Sprintf("--node-pids %d", c.PIDs))
	}
	if c.EphemeralStorage != 0 {
		flags = append(flags, "--node-ephemeral-storage "+c.EphemeralStorage.String())
	}
	if len(c.HugePages) != 0 {
		flags = append(flags, "--node-hugepages "+c.HugePages.String())
	}
	if len(flags) == 0 {
		return "all of the machine"
	}
	return strings.Join(flags, " ")
}
