package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"minato/bench/lab"
)

// proxyArgument is by what the process of a node's proxy is known.
const proxyArgument = "ingress-proxy"

// memory is what one proxy's process holds, in MiB.
type memory struct {
	PID       int     `json:"pid"`
	Resident  float64 `json:"residentMiB"`
	Anonymous float64 `json:"anonymousMiB"`
}

// proxyMemory reads the memory of the proxies of a cluster, which are in its cgroups.
func proxyMemory(cluster string) ([]memory, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []memory
	for _, dir := range dirs {
		// A process that ends meanwhile was no proxy, or there is one too few.
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if !slices.Contains(strings.Split(string(args), "\x00"), proxyArgument) {
			continue
		}
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if !strings.Contains(string(groups), "/minato/"+cluster+"/") {
			continue
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return nil, err
		}
		m := memory{Resident: statusMiB(status, "VmRSS:"), Anonymous: statusMiB(status, "RssAnon:")}
		if m.PID, err = strconv.Atoi(filepath.Base(dir)); err != nil {
			return nil, err
		}
		if m.Resident == 0 || m.Anonymous == 0 {
			return nil, fmt.Errorf("%s/status does not tell the memory of the process", dir)
		}
		out = append(out, m)
	}
	return out, nil
}

// statusMiB reads a line "NAME NUMBER kB".
func statusMiB(status []byte, name string) float64 {
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			kib, _ := strconv.ParseFloat(f[1], 64) // it is a number
			return kib / 1024
		}
	}
	return 0
}

// middle is the process in the middle, for each figure.
func middle(list []memory) (resident, anonymous float64) {
	var r, a []float64
	for _, m := range list {
		r, a = append(r, m.Resident), append(a, m.Anonymous)
	}
	return lab.Median(r), lab.Median(a)
}
