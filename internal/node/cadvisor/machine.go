package cadvisor

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	info "github.com/google/cadvisor/info/v1"

	"minato/internal/host"
)

// processes looks at the processes of a container.
func processes(cg host.Cgroup) info.ProcessStats {
	var out info.ProcessStats
	if cg.Path == "" {
		return out
	}
	pids, err := cg.Procs()
	if err != nil {
		return out
	}
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		open, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		out.ProcessCount++
		out.FdCount += uint64(len(open))
		for _, fd := range open {
			if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
				out.SocketCount++
			}
		}
	}
	out.ThreadsCurrent, _ = cg.Pids()
	out.ThreadsMax = cg.MaxPids()
	return out
}

func addProcesses(sum *info.ProcessStats, p info.ProcessStats) {
	sum.ProcessCount += p.ProcessCount
	sum.FdCount += p.FdCount
	sum.SocketCount += p.SocketCount
	sum.ThreadsCurrent += p.ThreadsCurrent
}

// topology counts the machine's physical cores and sockets.
func topology() (cores, sockets int) {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0, 0
	}
	return parseTopology(data)
}

// parseTopology reads /proc/cpuinfo. An architecture whose file has no sockets
// has one, and as many cores as processors.
func parseTopology(data []byte) (cores, sockets int) {
	seenCores, seenSockets := map[string]bool{}, map[string]bool{}
	socket, processors := "", 0
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			processors++
		case "physical id":
			socket = value
			seenSockets[value] = true
		case "core id":
			seenCores[socket+"/"+value] = true
		}
	}
	if len(seenCores) == 0 || len(seenSockets) == 0 {
		return processors, min(processors, 1)
	}
	return len(seenCores), len(seenSockets)
}

// swapTotal is the machine's swap space, which all nodes share.
func swapTotal() uint64 {
	var s syscall.Sysinfo_t
	if syscall.Sysinfo(&s) != nil {
		return 0
	}
	return uint64(s.Totalswap) * uint64(s.Unit)
}

// bootTime is when the machine was started, to the second.
func bootTime() time.Time {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "btime "); ok {
			seconds, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Unix(seconds, 0)
		}
	}
	return time.Time{}
}

// device is what a directory's file system is on.
func device(dir string) string {
	var st syscall.Stat_t
	if syscall.Stat(dir, &st) != nil {
		return ""
	}
	major, minor := uint64(st.Dev>>8)&0xfff, st.Dev&0xff|(st.Dev>>12)&0xfff00
	if name := (host.DeviceIO{Major: major, Minor: minor}).Name(); name != "" {
		return "/dev/" + name
	}
	return fmt.Sprintf("%d:%d", major, minor) // it is on no block device
}
