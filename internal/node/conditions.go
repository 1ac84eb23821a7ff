package node

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/node/lowmemory"
)

// What must be left of the machine for the node not to be under pressure.
const (
	minMemory = lowmemory.Threshold
	minDisk   = 512 << 20
	// minPIDs is the share of process numbers, in percent.
	minPIDs = 10
)

// usage is what the machine has left; below zero is not known.
type usage struct {
	memory, disk, pids, pidLimit int64
}

// readUsage looks at the machine, and at the node's cgroup for what that limits.
func (c *Config) readUsage() (usage, error) {
	u := usage{memory: -1, disk: -1, pids: -1}
	var fs syscall.Statfs_t
	errDisk := syscall.Statfs(c.Dir, &fs)
	if errDisk == nil {
		u.disk = int64(fs.Bavail) * fs.Bsize
	}
	available, errMemory := c.availableMemory()
	if errMemory == nil {
		u.memory = available
	}
	used, limit, errPIDs := processes()
	if c.ProcessLimit > 0 {
		limit = c.ProcessLimit
		used, errPIDs = c.Cgroup.Threads()
	}
	if errPIDs == nil {
		u.pids, u.pidLimit = used, limit
	}
	return u, errors.Join(errDisk, errMemory, errPIDs)
}

// availableMemory is what is left for Pods, in bytes.
func (c *Config) availableMemory() (int64, error) {
	machine, err := host.MachineMemory()
	if err != nil || c.MemoryLimit == 0 {
		return machine.Available, err
	}
	used, err := c.Cgroup.WorkingSet()
	return min(machine.Available, max(0, c.MemoryLimit-used)), err
}

func processes() (used, limit int64, err error) {
	load, err := os.ReadFile("/proc/loadavg") // 0.00 0.01 0.05 1/345 6789
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(string(load))
	if len(f) < 4 {
		return 0, 0, fmt.Errorf("/proc/loadavg reads %q", load)
	}
	_, total, _ := strings.Cut(f[3], "/")
	used, errUsed := strconv.ParseInt(total, 10, 64)
	limit, errLimit := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return used, limit, errors.Join(errUsed, errLimit)
}

// pressure are the conditions that follow from what is left, in the words that
// every kubelet uses. What is not known is no pressure.
func pressure(u usage) []v1.NodeCondition {
	condition := func(t v1.NodeConditionType, bad bool, reasonBad, messageBad, reasonGood, messageGood string) v1.NodeCondition {
		if bad {
			return v1.NodeCondition{Type: t, Status: v1.ConditionTrue, Reason: reasonBad, Message: messageBad}
		}
		return v1.NodeCondition{Type: t, Status: v1.ConditionFalse, Reason: reasonGood, Message: messageGood}
	}
	return []v1.NodeCondition{
		condition(v1.NodeMemoryPressure, u.memory >= 0 && u.memory < minMemory,
			"KubeletHasInsufficientMemory", "kubelet has insufficient memory available",
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		condition(v1.NodeDiskPressure, u.disk >= 0 && u.disk < minDisk,
			"KubeletHasDiskPressure", "kubelet has disk pressure",
			"KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		condition(v1.NodePIDPressure, u.pids*100 > u.pidLimit*(100-minPIDs),
			"KubeletHasInsufficientPID", "kubelet has insufficient PID available",
			"KubeletHasSufficientPID", "kubelet has sufficient PID available"),
	}
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
