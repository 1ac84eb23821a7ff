package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// podLimits is what all containers of a Pod may use together; 0 is "not said",
// a negative number "no limit". The kubelet has the same limits in its Pods'
// cgroups (see ResourceConfigForPod in its pkg/kubelet/cm). Its cgroups of QoS
// classes in between are left out: the weight of each is the sum of its Pods'
// weights, so that Pods side by side get the same shares.
type podLimits struct {
	cpuShares           int64 // 1024 for a CPU, of which Pods get parts in proportion
	cpuQuota, cpuPeriod int64 // microseconds
	memory              int64 // bytes
	processes           int64 // threads count, too
}

// podLimitsOf adds a Pod's overhead to what its containers need.
func podLimitsOf(config *runtimeapi.LinuxPodSandboxConfig) podLimits {
	res, overhead := config.GetResources(), config.GetOverhead()
	l := podLimits{
		cpuShares: res.GetCpuShares() + overhead.GetCpuShares(),
		cpuQuota:  res.GetCpuQuota(), cpuPeriod: res.GetCpuPeriod(), memory: res.GetMemoryLimitInBytes(),
	}
	// Overhead is no limit where there is none.
	if l.cpuQuota > 0 && (overhead.GetCpuPeriod() == 0 || overhead.GetCpuPeriod() == l.cpuPeriod) {
		l.cpuQuota += overhead.GetCpuQuota()
	}
	if l.memory > 0 {
		l.memory += overhead.GetMemoryLimitInBytes()
	}
	return l
}

// defaultPodPidsLimit is more than any common Pod needs, and few enough that
// one Pod can't use up the machine's process numbers, which end programs of
// everybody's.
const defaultPodPidsLimit = 32768

// podProcesses is the limit of processes in a Pod, the kubelet's podPidsLimit.
func podProcesses(configured int64, pidMax int64) int64 {
	if configured != 0 {
		return configured
	}
	if pidMax <= 0 {
		return defaultPodPidsLimit
	}
	return min(defaultPodPidsLimit, pidMax/2)
}

// readPIDMax is how many process numbers the machine has; 0 if that can't be
// told.
func readPIDMax() int64 {
	value, err := host.ReadSysctl("kernel/pid_max")
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// limitPod sets the limits of a Pod's cgroup.
func (r *Runtime) limitPod(uid string, l podLimits, hugePages []*runtimeapi.HugepageLimit) error {
	l.cpuQuota = r.withinNode(l.cpuQuota, l.cpuPeriod)
	if err := setLimits(r.podCgroup(uid), l); err != nil {
		return err
	}
	return r.limitPodHugePages(uid, hugePages)
}

// setLimits sets the limits of the cgroup of a Pod or a node. Shares and the number of
// processes are left out where the machine's cgroups don't have them, since
// every Pod is given those; limits that somebody asked for are an error there.
func setLimits(cg host.Cgroup, l podLimits) error {
	for _, set := range []struct {
		controller string
		preference bool
		value      int64
		write      func(dir string, v2 bool) error
	}{
		{"cpu", true, l.cpuShares, l.writeShares},
		{"cpu", false, l.cpuQuota, l.writeQuota},
		{"memory", false, l.memory, l.writeMemory},
		{"pids", true, l.processes, l.writeProcesses},
	} {
		if set.value == 0 {
			continue
		}
		dir, v2, err := cg.Controller(set.controller)
		if errors.Is(err, host.ErrNoController) && (set.preference || set.value < 0) {
			continue
		}
		if err == nil && !v2 {
			// cgroup2's was made before; the OCI runtime makes those of version
			// 1 only below, when the first container is created.
			err = os.MkdirAll(dir, 0o755)
		}
		if err == nil {
			err = set.write(dir, v2)
		}
		if err != nil {
			return fmt.Errorf("limit the %s of cgroup %s: %w", set.controller, cg.Path, err)
		}
	}
	return nil
}

func (l podLimits) writeShares(dir string, v2 bool) error {
	if v2 {
		return writeControl(dir, "cpu.weight", strconv.FormatUint(cgroups.ConvertCPUSharesToCgroupV2Value(uint64(l.cpuShares)), 10))
	}
	return writeControl(dir, "cpu.shares", strconv.FormatInt(l.cpuShares, 10))
}

// defaultCPUPeriod is the kernel's, in microseconds.
const defaultCPUPeriod = 100_000

func (l podLimits) writeQuota(dir string, v2 bool) error {
	period := l.cpuPeriod
	if period <= 0 {
		period = defaultCPUPeriod
	}
	if v2 {
		return writeControl(dir, "cpu.max", fmt.Sprintf("%s %d", orMax(l.cpuQuota), period))
	}
	writePeriod := func() error { return writeControl(dir, "cpu.cfs_period_us", strconv.FormatInt(period, 10)) }
	writeQuota := func() error { return writeControl(dir, "cpu.cfs_quota_us", strconv.FormatInt(max(-1, l.cpuQuota), 10)) }
	// The kernel looks at the ratio after each write, and refuses one that is
	// too high for the parent or too low for a container.
	if err := writePeriod(); !errors.Is(err, unix.EINVAL) {
		return errors.Join(err, writeQuota())
	}
	return errors.Join(writeQuota(), writePeriod())
}

func (l podLimits) writeMemory(dir string, v2 bool) error {
	if v2 {
		return writeControl(dir, "memory.max", orMax(l.memory))
	}
	return writeControl(dir, "memory.limit_in_bytes", strconv.FormatInt(max(-1, l.memory), 10))
}

func (l podLimits) writeProcesses(dir string, _ bool) error {
	return writeControl(dir, "pids.max", orMax(l.processes))
}

func orMax(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func writeControl(dir, file, value string) error {
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", file, value, err)
	}
	return nil
}
