// Package oomkill reads from the kernel's log which processes its OOM killer has
// ended, and for want of which memory: a control group's, or the machine's.
//
// It must not write to the log, and imports the standard library alone.
package oomkill

import (
	"strconv"
	"strings"
)

// Kill is a process that the OOM killer has ended.
type Kill struct {
	// Limit is the control group whose limit was reached, as a path from the root of
	// its hierarchy; empty where the machine has run out of memory.
	Limit string
	// Cgroup is the control group that the process was in.
	Cgroup  string
	Process string
	PID     int
}

// Below tells whether a path of the kernel's is that of a group, given as the names
// below the root that we see, or of one in it. Where we are in a namespace of
// control groups, the kernel's path begins further up.
func Below(path, group string) bool {
	return strings.Contains(strings.TrimSuffix(path, "/")+"/", "/"+strings.Trim(group, "/")+"/")
}

// parse reads a record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg): the one
// line that the kernel writes for each kill (dump_oom_summary in mm/oom_kill.c, since
// Linux 5.0). What programs write to the log never has the kernel's facility.
func parse(record string) (Kill, bool) {
	prefix, text, ok := strings.Cut(record, ";")
	if !ok {
		return Kill{}, false
	}
	level, _, _ := strings.Cut(prefix, ",")
	if n, err := strconv.Atoi(level); err != nil || n>>3 != 0 {
		return Kill{}, false
	}
	text, _, _ = strings.Cut(text, "\n") // what follows are key=value pairs
	rest, ok := strings.CutPrefix(text, "oom-kill:constraint=")
	if !ok {
		return Kill{}, false
	}
	var k Kill
	// Names may have commas in them, so each field ends where the next one begins, and
	// the last fields are looked for from the end.
	head, rest, ok := strings.Cut(rest, ",task_memcg=")
	if !ok {
		return Kill{}, false
	}
	if _, limit, ok := strings.Cut(head, ",oom_memcg="); ok {
		k.Limit = limit
	} else if !strings.HasSuffix(head, ",global_oom") {
		return Kill{}, false // a cpuset or a policy of memory ran out of its nodes
	}
	i := strings.LastIndex(rest, ",uid=")
	if i < 0 {
		return Kill{}, false
	}
	rest = rest[:i]
	if i = strings.LastIndex(rest, ",pid="); i < 0 {
		return Kill{}, false
	}
	pid, err := strconv.Atoi(rest[i+len(",pid="):])
	if err != nil || pid <= 0 {
		return Kill{}, false
	}
	k.PID, rest = pid, rest[:i]
	k.Cgroup, k.Process, ok = cutLast(rest, ",task=")
	return k, ok && k.Cgroup != ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
