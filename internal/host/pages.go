package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseProgramPages drops the mapped pages of this program's own file from
// this process's memory. A start touches nearly all of a large binary once;
// what is used from then on comes back from the page cache by itself, and the
// rest stops counting as this process's memory.
func ReleaseProgramPages() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("release program pages: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("release program pages: %w", err)
	}
	defer f.Close()
	mappings, err := cleanMappings(f, self)
	if err != nil {
		return fmt.Errorf("release program pages: %w", err)
	}
	for _, m := range mappings {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("release program pages: madvise: %w", errno)
		}
	}
	return nil
}

// mapping is a part of the address space, in bytes.
type mapping struct{ start, length uintptr }

// cleanMappings reads /proc/PID/smaps and returns the mappings of the file at
// path that are the same as the file: read-only, and never written to either.
// Linkers write into pages that are made read-only afterwards; those pages
// exist nowhere else.
func cleanMappings(smaps io.Reader, path string) ([]mapping, error) {
	var found []mapping
	ours := false
	sc := bufio.NewScanner(smaps)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ":")
		switch {
		case strings.Contains(name, "-") && strings.Contains(name, " "): // a mapping's first line
			m, ok := readOnlyMapping(sc.Text(), path)
			if ours = ok; ok {
				found = append(found, m)
			}
		case ours && (name == "Private_Dirty" || name == "Anonymous") && strings.TrimSpace(value) != "0 kB":
			found, ours = found[:len(found)-1], false
		}
	}
	return found, sc.Err()
}

// readOnlyMapping reads the first line of a mapping in /proc/PID/smaps; ok is
// false unless it maps the file at path without write access.
func readOnlyMapping(line, path string) (m mapping, ok bool) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 || strings.TrimSpace(fields[5]) != path || len(fields[1]) != 4 || fields[1][1] == 'w' || fields[1][3] != 'p' {
		return m, false
	}
	from, to, found := strings.Cut(fields[0], "-")
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if !found || err1 != nil || err2 != nil || b <= a {
		return m, false
	}
	return mapping{uintptr(a), uintptr(b - a)}, true
}
