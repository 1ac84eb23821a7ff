package cadvisor

import (
	"testing"

	"minato/internal/host"
)

func TestTopology(t *testing.T) {
	for _, test := range []struct {
		name, text     string
		cores, sockets int
	}{
		{"two threads of one core", "processor\t: 0\nphysical id\t: 0\ncore id\t\t: 0\n\nprocessor\t: 1\nphysical id\t: 0\ncore id\t\t: 0\n", 1, 1},
		{"two sockets", "processor\t: 0\nphysical id\t: 0\ncore id\t\t: 0\n\nprocessor\t: 1\nphysical id\t: 1\ncore id\t\t: 0\n", 2, 2},
		{"an architecture without sockets", "processor\t: 0\nBogoMIPS\t: 50\n\nprocessor\t: 1\n", 2, 1},
		{"nothing", "", 0, 0},
	} {
		if cores, sockets := parseTopology([]byte(test.text)); cores != test.cores || sockets != test.sockets {
			t.Errorf("%s: %d cores in %d sockets, want %d in %d", test.name, cores, sockets, test.cores, test.sockets)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, test := range []struct{ root, path, otherwise, want string }{
		{"minato/a/node-1", "minato/a/node-1/podu/c", "/x", "/podu/c"},
		{"minato/a/node-1", "minato/a/node-10/podu", "/x", "/x"},
		{"", "", "/podu", "/podu"},
	} {
		if have := idOf(test.root, host.Cgroup{Path: test.path}, test.otherwise); have != test.want {
			t.Errorf("%s below %s is %s, want %s", test.path, test.root, have, test.want)
		}
	}
}
