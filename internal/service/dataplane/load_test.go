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
