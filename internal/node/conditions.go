package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/node/evict"
)

// observe looks what the machine, and the node's cgroup for what that limits, has
// left. What can't be read is in the error.
func (a *Agent) observe(ctx context.Context) (evict.Observations, error) {
	out := evict.Observations{}
	memory, errMemory := a.cfg.memory()
	if errMemory == nil {
		out[evict.MemoryAvailable] = memory
	}
	errDisk := a.observeStorage(ctx, out)
	images, errImages := a.imageDir(ctx)
	if errImages == nil {
		errImages = observeDisk(out, images, evict.ImageFsAvailable, evict.ImageFsInodesFree)
	}
	used, limit, errPIDs := host.MachineTasks()
	if a.cfg.ProcessLimit > 0 {
		limit = a.cfg.ProcessLimit
		used, errPIDs = a.cfg.Cgroup.Threads()
	}
	if errPIDs == nil {
		out[evict.PIDAvailable] = evict.Observation{Available: limit - used, Capacity: limit}
	}
	return out, errors.Join(errMemory, errDisk, errImages, errPIDs)
}

// observeDisk adds what the file system that path is on has left. Not every file
// system counts files.
func observeDisk(out evict.Observations, path string, bytes, inodes evict.Signal) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return fmt.Errorf("measure the disk that %s is on: %w", path, err)
	}
	out[bytes] = evict.Observation{Available: int64(fs.Bavail) * fs.Bsize, Capacity: int64(fs.Blocks) * fs.Bsize}
	if fs.Files > 0 {
		out[inodes] = evict.Observation{Available: int64(fs.Ffree), Capacity: int64(fs.Files)}
	}
	return nil
}

// imageDir is where the images are.
func (a *Agent) imageDir(ctx context.Context) (string, error) {
	info, err := a.cfg.Images.ImageFsInfo(ctx)
	if err != nil {
		return "", fmt.Errorf("ask where the images are: %w", err)
	}
	for _, fs := range info.GetImageFilesystems() {
		if dir := fs.GetFsId().GetMountpoint(); dir != "" {
			return dir, nil
		}
	}
	return a.cfg.Dir, nil // a runtime that does not tell
}

// imagesApart tells whether the images have another disk than the node's files.
func (a *Agent) imagesApart() bool {
	dir, err := a.imageDir(context.Background())
	if err != nil {
		return false
	}
	var images, node syscall.Stat_t
	return syscall.Stat(dir, &images) == nil && syscall.Stat(a.cfg.Dir, &node) == nil && images.Dev != node.Dev
}

// memory is what there is for Pods, in bytes.
func (c *Config) memory() (evict.Observation, error) {
	machine, err := host.MachineMemory()
	if err != nil || c.MemoryLimit == 0 {
		return evict.Observation{Available: machine.Available, Capacity: machine.Total}, err
	}
	used, err := c.Cgroup.WorkingSet()
	return evict.Observation{Available: min(machine.Available, max(0, c.MemoryLimit-used)), Capacity: c.MemoryLimit}, err
}

// pressures are the conditions about what a node can run out of, in the words of
// every kubelet, where those that are listed are true.
func pressures(under []v1.NodeConditionType) []v1.NodeCondition {
	var out []v1.NodeCondition
	for _, c := range []struct{ bad, good v1.NodeCondition }{
		{v1.NodeCondition{Type: v1.NodeMemoryPressure, Reason: "KubeletHasInsufficientMemory", Message: "kubelet has insufficient memory available"},
			v1.NodeCondition{Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"}},
		{v1.NodeCondition{Type: v1.NodeDiskPressure, Reason: "KubeletHasDiskPressure", Message: "kubelet has disk pressure"},
			v1.NodeCondition{Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"}},
		{v1.NodeCondition{Type: v1.NodePIDPressure, Reason: "KubeletHasInsufficientPID", Message: "kubelet has insufficient PID available"},
			v1.NodeCondition{Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"}},
	} {
		c.good.Type, c.good.Status, c.bad.Status = c.bad.Type, v1.ConditionFalse, v1.ConditionTrue
		if slices.Contains(under, c.bad.Type) {
			out = append(out, c.bad)
		} else {
			out = append(out, c.good)
		}
	}
	return out
}

// network is the condition NetworkUnavailable, which Kubernetes leaves to whoever
// makes the network; problem is empty where there is none.
func network(problem string) v1.NodeCondition {
	if problem != "" {
		return v1.NodeCondition{Type: v1.NodeNetworkUnavailable, Status: v1.ConditionTrue, Reason: "MinatoNetworkFailed", Message: problem}
	}
	return v1.NodeCondition{Type: v1.NodeNetworkUnavailable, Status: v1.ConditionFalse, Reason: "MinatoNetworkReady", Message: "routes and Services are kept up"}
}

// readiness is the node's Ready condition; err is what the runtime lacks.
func readiness(err error) v1.NodeCondition {
	if err != nil {
		return v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionFalse, Reason: "KubeletNotReady", Message: err.Error()}
	}
	return v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
}
