package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Machine is what figures were taken on.
type Machine struct {
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
}

// ThisMachine describes the machine.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU()}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // what can't be read is left empty
	m.Kernel = strings.TrimSpace(string(kernel))
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpus)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

// Spread is the middle of some values, and where the middle half of them is.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// SpreadOf sums values up.
func SpreadOf(values []float64) Spread {
	return Spread{Median: Median(values), Low: Quantile(values, 0.25), High: Quantile(values, 0.75)}
}

func (s Spread) String() string { return fmt.Sprintf("%.3f [%.2f-%.2f]", s.Median, s.Low, s.High) }

// Median is the value in the middle.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile is the value below which that share of all is; 0 if there are none.
func Quantile[T ~int32 | ~float64](values []T, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := min(int(share*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[at])
}

// Progress tells how far the run is, on a line of its own.
func Progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// WriteJSON writes the figures to a file.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
