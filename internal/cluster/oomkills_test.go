package cluster

import (
	"testing"

	"minato/internal/host/oomkill"
)

func TestOutOfMemory(t *testing.T) {
	for name, test := range map[string]struct {
		kill  oomkill.Kill
		nodes [3]bool // node-1, node-2, node-10
	}{
		"the limit of node-1":      {oomkill.Kill{Limit: "/minato/c/node-1", Cgroup: "/minato/c/node-1/kubepods/x"}, [3]bool{true, false, false}},
		"a container's limit":      {oomkill.Kill{Limit: "/minato/c/node-1/kubepods/x", Cgroup: "/minato/c/node-1/kubepods/x"}, [3]bool{}},
		"the same, of that name":   {oomkill.Kill{Limit: "/minato/d/node-1", Cgroup: "/minato/d/node-1/kubepods/x"}, [3]bool{}},
		"the machine, on node-2":   {oomkill.Kill{Cgroup: "/minato/c/node-2/kubepods/x"}, [3]bool{false, true, false}},
		"the machine, on node-10":  {oomkill.Kill{Cgroup: "/minato/c/node-10"}, [3]bool{false, false, true}},
		"the machine, elsewhere":   {oomkill.Kill{Cgroup: "/user.slice"}, [3]bool{true, true, true}},
		"the machine, in no group": {oomkill.Kill{Cgroup: "/"}, [3]bool{true, true, true}},
		"the machine, a server":    {oomkill.Kill{Cgroup: "/minato/d/server"}, [3]bool{}},
	} {
		for i, node := range []string{"node-1", "node-2", "node-10"} {
			if got := outOfMemory(test.kill, "minato/c", node); got != test.nodes[i] {
				t.Errorf("%s: %s is told: %t", name, node, got)
			}
		}
	}
}
