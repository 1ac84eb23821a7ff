package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ProcessUse is what a process uses.
type ProcessUse struct {
	CPU time.Duration // of all its threads since it began
	// Memory is in bytes, without the pages of files, which it may share.
	Memory int64
	// Resident is in bytes, with the pages of files.
	Resident int64
}

// tick is the kernel's unit of time in /proc, USER_HZ.
const tick = time.Second / 100

// ReadProcess reads what a process uses. The error is fs.ErrNotExist where there is none.
func ReadProcess(pid int) (ProcessUse, error) {
	fail := func(err error) (ProcessUse, error) {
		return ProcessUse{}, fmt.Errorf("read what process %d uses: %w", pid, err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return fail(err)
	}
	cpu, err := parseStat(string(stat))
	if err != nil {
		return fail(err)
	}
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return fail(err)
	}
	resident, own, err := parseStatm(string(statm))
	if err != nil {
		return fail(err)
	}
	page := int64(os.Getpagesize())
	return ProcessUse{CPU: cpu, Memory: own * page, Resident: resident * page}, nil
}

// parseStat returns utime and stime of a line of /proc/PID/stat (proc(5)). The second
// field is the program's name in parentheses, which may have any character.
func parseStat(line string) (time.Duration, error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("the kernel wrote %q", line)
	}
	ticks, err := sumOf(fields[11], fields[12])
	return time.Duration(ticks) * tick, err
}

// parseStatm returns the resident pages of a line of /proc/PID/statm, and those of them
// that are no files'.
func parseStatm(line string) (resident, own int64, err error) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return 0, 0, fmt.Errorf("the kernel wrote %q", line)
	}
	if resident, err = sumOf(fields[1]); err != nil {
		return 0, 0, err
	}
	own, err = sumOf(fields[1], "-"+fields[2])
	return resident, own, err
}

func sumOf(numbers ...string) (int64, error) {
	var sum int64
	for _, text := range numbers {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
