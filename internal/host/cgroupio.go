package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// DeviceIO is what a cgroup, and those below it, have read from a block device and
// written to it.
type DeviceIO struct {
	Major, Minor          uint64
	Reads, Writes         uint64
	ReadBytes, WriteBytes uint64
}

// Name is the device's in the kernel, such as "vda"; empty for one that is gone.
func (d DeviceIO) Name() string {
	target, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", d.Major, d.Minor))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// IO reads what was read and written, by device. Errors are those of CPU.
func (c Cgroup) IO() ([]DeviceIO, error) {
	dir, v2, err := c.counter("blkio", "io")
	if err != nil {
		return nil, fmt.Errorf("I/O of cgroup %s: %w", c.Path, err)
	}
	if v2 {
		data, err := os.ReadFile(filepath.Join(dir, "io.stat"))
		if err != nil {
			return nil, fmt.Errorf("I/O of cgroup %s: %w", c.Path, gone(err))
		}
		return parseIOStat(data), nil
	}
	var out []DeviceIO
	for name, set := range map[string]func(*DeviceIO, string, uint64){
		"blkio.throttle.io_service_bytes_recursive": func(d *DeviceIO, op string, n uint64) { d.add(op, &d.ReadBytes, &d.WriteBytes, n) },
		"blkio.throttle.io_serviced_recursive":      func(d *DeviceIO, op string, n uint64) { d.add(op, &d.Reads, &d.Writes, n) },
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) { // kernels before 4.17 count without children
			data, err = os.ReadFile(filepath.Join(dir, strings.TrimSuffix(name, "_recursive")))
		}
		if err != nil {
			return nil, fmt.Errorf("I/O of cgroup %s: %w", c.Path, gone(err))
		}
		out = parseBlkio(out, data, set)
	}
	slices.SortFunc(out, func(a, b DeviceIO) int {
		if a.Major != b.Major {
			return int(a.Major) - int(b.Major)
		}
		return int(a.Minor) - int(b.Minor)
	})
	return out, nil
}

func (*DeviceIO) add(op string, read, write *uint64, n uint64) {
	switch op {
	case "Read":
		*read = n
	case "Write":
		*write = n
	}
}

// parseBlkio reads lines such as "254:0 Read 4096".
func parseBlkio(out []DeviceIO, data []byte, set func(*DeviceIO, string, uint64)) []DeviceIO {
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue // the total
		}
		major, minor, ok := parseDevice(fields[0])
		n, err := strconv.ParseUint(fields[2], 10, 64)
		if !ok || err != nil {
			continue
		}
		i := slices.IndexFunc(out, func(d DeviceIO) bool { return d.Major == major && d.Minor == minor })
		if i < 0 {
			i = len(out)
			out = append(out, DeviceIO{Major: major, Minor: minor})
		}
		set(&out[i], fields[1], n)
	}
	return out
}

// parseIOStat reads lines such as "254:0 rbytes=4096 wbytes=0 rios=1 wios=0".
func parseIOStat(data []byte) []DeviceIO {
	var out []DeviceIO
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		major, minor, ok := parseDevice(fields[0])
		if !ok {
			continue
		}
		d := DeviceIO{Major: major, Minor: minor}
		to := map[string]*uint64{"rbytes": &d.ReadBytes, "wbytes": &d.WriteBytes, "rios": &d.Reads, "wios": &d.Writes}
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			if n, err := strconv.ParseUint(value, 10, 64); err == nil && to[key] != nil {
				*to[key] = n
			}
		}
		out = append(out, d)
	}
	return out
}

func parseDevice(s string) (major, minor uint64, ok bool) {
	a, b, found := strings.Cut(s, ":")
	major, errA := strconv.ParseUint(a, 10, 32)
	minor, errB := strconv.ParseUint(b, 10, 32)
	return major, minor, found && errA == nil && errB == nil
}
