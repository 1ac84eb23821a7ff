package oci

import "testing"

func TestOpenFiles(t *testing.T) {
	root, poor := hostCapabilities{"SYS_RESOURCE"}, hostCapabilities{"KILL"}
	for _, c := range []struct {
		caps            hostCapabilities
		own, most, want uint64
	}{
		{root, 1024, 1 << 30, 1 << 20}, // whatever a login shell has
		{root, 1 << 30, 1 << 30, 1 << 20},
		{root, 1024, 65536, 65536},
		{poor, 1024, 1 << 30, 1024},
		{poor, 1 << 30, 1 << 30, 1 << 20},
	} {
		if got := c.caps.openFiles(c.own, c.most); got != c.want {
			t.Errorf("%v with a hard limit of %d and fs.nr_open = %d: %d open files, want %d", c.caps, c.own, c.most, got, c.want)
		}
	}
}
