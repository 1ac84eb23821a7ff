package dataplane

import (
	"testing"

	"github.com/cilium/ebpf"
)

// BenchmarkLoad shows what the programs of one node cost at its start.
func BenchmarkLoad(b *testing.B) {
	requireRoot(b)
	for name, ipv6 := range map[string]bool{"IPv4": false, "both families": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				spec, err := specFor(ipv6)
				if err != nil {
					b.Fatal(err)
				}
				c, err := ebpf.NewCollection(spec)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				c.Close()
				b.StartTimer()
			}
		})
	}
}

// TestProgramsAreCheapToVerify: a node starts only when its programs are verified, some 0.6 µs for each instruction that
// the kernel looks at. Code in a loop is looked at for each round, unless it is a function of its own.
func TestProgramsAreCheapToVerify(t *testing.T) {
	requireRoot(t)
	spec, err := specFor(true)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const limit = 12000
	for name, p := range c.Programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := info.VerifiedInstructions(); ok && n > limit {
			t.Errorf("program %s: the kernel looked at %d instructions, more than %d", name, n, limit)
		}
	}
}
