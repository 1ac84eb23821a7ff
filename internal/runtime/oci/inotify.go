package oci

import (
	"strconv"

	"minato/internal/host"
)

// conmon takes one inotify instance per container to watch a cgroup2 for
// memory kills. Root has 128 of them by default, and once they are used up
// other programs fail.
const (
	inotifyLimit     = "fs/inotify/max_user_instances"
	inotifyInstances = 8192
)

// raiseInotifyLimit makes room for conmons. Version 1 of cgroups needs none.
func (r *Runtime) raiseInotifyLimit() {
	if !r.layout.Unified {
		return
	}
	value, err := host.ReadSysctl(inotifyLimit)
	if err != nil {
		return // a kernel without inotify
	}
	have, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		r.log.Warn("the limit of inotify instances can't be read", "sysctl", inotifyLimit, "value", value, "error", err)
		return
	}
	if r.cfg.RaiseLimit == nil {
		if have < inotifyInstances {
			r.log.Warn("the machine's limit of inotify instances is low: each container's conmon takes one, and other programs of root fail when they are used up", "sysctl", inotifyLimit, "limit", have, "wanted", inotifyInstances)
		}
		return
	}
	// Also where it is high enough: another cluster may have raised it, and
	// puts it back unless this one counts.
	if err := r.cfg.RaiseLimit(inotifyLimit, inotifyInstances); err != nil {
		r.log.Warn("the machine's limit of inotify instances can't be raised: each container's conmon takes one, and other programs of root fail when they are used up", "sysctl", inotifyLimit, "limit", have, "wanted", inotifyInstances, "error", err)
		return
	}
	if have < inotifyInstances {
		r.log.Info("the machine's limit of inotify instances was raised, since each container's conmon takes one", "sysctl", inotifyLimit, "from", have, "to", inotifyInstances)
	}
}
