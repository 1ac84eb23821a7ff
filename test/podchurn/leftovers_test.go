package podchurn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"k8s.io/client-go/kubernetes"
)

// held is what the machine has of a cluster.
type held struct {
	// counts are numbers by what they are of; each has to be as before.
	counts map[string]int
	// memory is the server's own, in bytes, with room that it has taken for work. heap is what it had objects in, the
	// least of several looks: between two collections there is garbage among them. open are its descriptors.
	memory     int64
	heap       int64
	open       int
	goroutines int
}

// look counts what there is of a cluster.
func look(ctx context.Context, client kubernetes.Interface, name string) (held, error) {
	h := held{counts: map[string]int{}}
	var err error
	if h.goroutines, h.heap, err = own(ctx, client); err != nil {
		return h, err
	}
	pid, err := serverPID(name)
	if err != nil {
		return h, err
	}
	if h.memory, err = anonymous(pid); err != nil {
		return h, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return h, err
	}
	h.open = len(open)
	for what, file := range map[string]string{"mounts of the server": fmt.Sprintf("/proc/%d/mountinfo", pid), "mounts of the machine": "/proc/self/mountinfo"} {
		data, err := os.ReadFile(file)
		if err != nil {
			return h, err
		}
		h.counts[what] = strings.Count(string(data), "minato/"+name+"/")
	}
	for _, dir := range []string{"nodes"} {
		run, data := filepath.Join("/run/minato", name, dir), filepath.Join("/var/lib/minato", name, dir)
		h.counts["files below "+run] = files(run)
		h.counts["files below "+data] = files(data)
	}
	h.counts["pins of images"] = files(filepath.Join("/var/lib/minato", name, "store", "pins"))
	cgroups, processes := 0, 0
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/minato/" + name)
	for _, root := range append(roots, "/sys/fs/cgroup/minato/"+name) {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil
			case d.IsDir():
				cgroups++
			case d.Name() == "cgroup.procs":
				text, _ := os.ReadFile(path)
				processes += strings.Count(string(text), "\n")
			}
			return nil
		})
	}
	h.counts["cgroups"], h.counts["processes in cgroups"] = cgroups, processes
	h.counts["network namespaces"] = namespaces(name)
	return h, nil
}

// files counts what is below a directory, logs and state files of the nodes' own
// parts among it, without what is mounted there.
func files(dir string) int {
	n := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		switch d.Name() { // the node's own files, and the programs that it shares with the machine
		case "root", "changes":
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		n++
		return nil
	})
	return n
}

// namespaces counts those that processes of the cluster are in.
func namespaces(name string) int {
	seen := map[string]bool{}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, l := range links {
		cgroup, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(l)), "cgroup"))
		if !strings.Contains(string(cgroup), "minato/"+name+"/") {
			continue
		}
		if to, err := os.Readlink(l); err == nil {
			seen[to] = true
		}
	}
	return len(seen)
}

// anonymous is the memory of a process that no file backs.
func anonymous(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("the status of process %d has no RssAnon", pid)
}

// own is what the server says of its goroutines, and of its heap in bytes.
func own(ctx context.Context, client kubernetes.Interface) (goroutines int, heap int64, err error) {
	data, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "go_goroutines" && name != "go_memstats_heap_alloc_bytes" {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("metric %s: %w", name, err)
		}
		if name == "go_goroutines" {
			goroutines = int(n)
		} else {
			heap = int64(n)
		}
	}
	if goroutines == 0 || heap == 0 {
		err = errors.New("the metrics lack go_goroutines or go_memstats_heap_alloc_bytes")
	}
	return goroutines, heap, err
}

func serverPID(name string) (int, error) {
	data, err := os.ReadFile(filepath.Join("/run/minato", name, "lock"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// more says what there is more of than before.
func (h held) more(before held) []string {
	var out []string
	for what, n := range h.counts {
		if n > before.counts[what] {
			out = append(out, fmt.Sprintf("%s: %d, and %d before", what, n, before.counts[what]))
		}
	}
	sort.Strings(out)
	return out
}

func (h held) String() string {
	var out []string
	for what, n := range h.counts {
		out = append(out, fmt.Sprintf("%s %d", what, n))
	}
	sort.Strings(out)
	return fmt.Sprintf("memory %d MiB, heap %d MiB, descriptors %d, goroutines %d, %s", h.memory>>20, h.heap>>20, h.open, h.goroutines, strings.Join(out, ", "))
}
