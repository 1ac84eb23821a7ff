package oci

import (
	"strings"
	"testing"
)

func TestWritableLayer(t *testing.T) {
	n := newNode(t)
	id := n.run(n.pod(sandboxConfig("layer")), containerConfig("sleep", "1h"))
	used := func() uint64 {
		stats, err := n.ContainerStats(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return stats.GetWritableLayer().GetUsedBytes().GetValue()
	}
	before := used()
	n.output(id, "grow", "/tmp/holes", "300000000000", "1048576")
	if got := used() - before; got < 1<<20 || got > 4<<20 {
		t.Errorf("a file of 300 GB of which 1 MiB is written counts as %d bytes", got)
	}
	n.output(id, "write", "/dev/shm/x", strings.Repeat("x", 4096)) // not on the layer
	if got := used() - before; got > 4<<20 {
		t.Errorf("the layer has %d bytes", got)
	}
}
