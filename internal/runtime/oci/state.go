package oci

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// sandboxState is what is written down about a sandbox.
type sandboxState struct {
	ID        string
	Config    *runtimeapi.PodSandboxConfig
	Handler   string
	CreatedAt time.Time
	Ready     bool
	IPs       []netip.Addr
	// Boot is the boot it was made in: namespaces don't outlive it.
	Boot string
	// Holder is the process that keeps a shared process namespace.
	Holder process
}

// phase is how far a container has come.
type phase string

const (
	phaseCreating phase = "creating" // what a crash in this phase leaves is removed
	phaseCreated  phase = "created"
	phaseRunning  phase = "running"
	phaseExited   phase = "exited"
)

// containerState is what is written down about a container.
type containerState struct {
	ID, SandboxID, PodUID string
	// Program is the OCI runtime that has the container, and ProgramRoot where it
	// keeps its state, whatever handlers there are by now.
	Program, ProgramRoot string
	Config               *runtimeapi.ContainerConfig
	LogPath              string
	ImageID, ImageRef    string
	ImageName            string
	User                 *runtimeapi.LinuxContainerUser
	StopSignal           int
	SharedPID            bool
	Resources            *runtimeapi.LinuxContainerResources

	Phase                            phase
	Boot                             string
	Init, Conmon                     process
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int32
	Reason, Message                  string
}

// process names a process for as long as the machine is up: numbers are used
// again, but not with the same start time.
type process struct {
	PID   int
	Start uint64 // clock ticks after boot
}

// newProcess looks a running process up.
func newProcess(pid int) (process, error) {
	start, err := startTime(pid)
	return process{PID: pid, Start: start}, err
}

func (p process) procDir() string { return fmt.Sprintf("/proc/%d", p.PID) }

// namespace is the path of a namespace of the process, such as its "pid" one.
func (p process) namespace(kind string) string { return filepath.Join(p.procDir(), "ns", kind) }

// alive tells whether it is this very process that runs.
func (p process) alive() bool {
	if p.PID == 0 {
		return false
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// procStat is what is needed of /proc/PID/stat (see proc(5)).
type procStat struct {
	zombie bool
	group  int    // field 5
	start  uint64 // field 22, in clock ticks after boot
}

// readStat reads a process's stat file. The second field may hold spaces, so
// fields are counted from behind its closing parenthesis.
func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(string(data))
}

func parseStat(stat string) (procStat, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("unexpected content of a process's stat file: %q", stat)
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return procStat{}, fmt.Errorf("unexpected content of a process's stat file: %w", err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("unexpected content of a process's stat file: %w", err)
	}
	return procStat{zombie: fields[0] == "Z", group: group, start: start}, nil
}

// startTime is when a process that has not ended was started.
func startTime(pid int) (uint64, error) {
	stat, err := readStat(pid)
	if err == nil && stat.zombie {
		err = os.ErrProcessDone
	}
	return stat.start, err
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot ID: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// saved is what a state file holds, by its hash; none before the first save.
type saved [sha256.Size]byte

// save replaces the state file of what has dir, unless it holds that state. Power
// failures are no concern: nothing that the state is about survives them.
func (s *saved) save(dir string, state any) error {
	data, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	sum := saved(sha256.Sum256(data))
	if sum == *s {
		return nil
	}
	if err := write(dir, stateFile, data); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	*s = sum
	return nil
}

// Names of files: of the state, and of what the OCI runtime is told about a container
// and about changes of its limits.
const (
	stateFile  = "state.json"
	configFile = "config.json"
	updateFile = "update.json"
)

// place is where a file is of a sandbox or container that has the directory dir, which
// is Config.Dir/KIND/ID or Config.RunDir/KIND/ID: name is its path from the directory top
// that has Config.Dir. A Pod with a hostPath may replace what is below that.
func place(dir, file string) (top, name string) {
	kind := filepath.Dir(dir)
	runtimeDir := filepath.Dir(kind)
	return filepath.Dir(runtimeDir), filepath.Join(filepath.Base(runtimeDir), filepath.Base(kind), filepath.Base(dir), file)
}

// write replaces a file of what has dir.
func write(dir, file string, data []byte) error {
	top, name := place(dir, file)
	return host.WriteBeneath(top, name, data)
}

// load reads a file of what has dir.
func load(dir, file string, into any) error {
	top, name := place(dir, file)
	data, err := host.ReadBeneath(top, name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	return nil
}
