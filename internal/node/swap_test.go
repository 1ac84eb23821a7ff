package node

import (
	"errors"
	"testing"

	"minato/internal/host"
)

func TestSwapOf(t *testing.T) {
	if got := swapOf(host.Memory{Total: 5, Swap: 64 << 20}, nil); got == nil || got.Capacity == nil || *got.Capacity != 64<<20 {
		t.Errorf("a machine with swap: %+v", got)
	}
	if got := swapOf(host.Memory{Total: 5}, nil); got != nil {
		t.Errorf("a machine without: %+v", got)
	}
	if got := swapOf(host.Memory{Swap: 1}, errors.New("x")); got != nil {
		t.Errorf("a machine that nobody knows of: %+v", got)
	}
}
