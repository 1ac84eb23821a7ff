package oci

import (
	"os"
	"strconv"
	"strings"
)

const (
	inotifyLimit     = "/proc/sys/fs/inotify/max_user_instances"
	inotifyInstances = 8192
)

// raiseInotifyLimit makes room for conmon, which takes one inotify instance
// per container to watch a cgroup2 for memory kills. Root has 128 of them by
// default, and once they are used up other programs fail. Version 1 needs none.
func (r *Runtime) raiseInotifyLimit() {
	if !r.layout.Unified {
		return
	}
	data, err := os.ReadFile(inotifyLimit)
	if err != nil {
		return // a kernel without inotify
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || have >= inotifyInstances {
		return
	}
	if err := os.WriteFile(inotifyLimit, []byte(strconv.Itoa(inotifyInstances)), 0o644); err != nil {
		r.log.Warn("the limit of inotify instances could not be raised, more than about 100 containers will use them up", "limit", have, "error", err)
		return
	}
	r.log.Info("raised the limit of inotify instances, since conmon takes one per container", "from", have, "to", inotifyInstances)
}
