package pool

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

const many = 2000

// crowd makes many Services.
func crowd(change ...func(*Service)) []Service {
	out := make([]Service, many)
	for i := range out {
		out[i] = svc(fmt.Sprintf("s%04d", i), change...)
	}
	return out
}

func held(services []Service, decisions map[types.NamespacedName]Decision) []Service {
	for i := range services {
		services[i].Current = decisions[services[i].Key].Addresses
	}
	return services
}

func large() []config.Pool {
	return []config.Pool{pool("a", "10.1.0.0-10.1.255.255", avoiding), pool("b", "fd00::-fd00::ffff:ffff:ffff:ffff 10.2.0.0-10.2.255.255")}
}

func BenchmarkAllocate(b *testing.B) {
	numbered := crowd(share("k"))
	for i := range numbered {
		numbered[i].Ports = []Port{{"TCP", uint16(1 + i)}}
	}
	high := crowd(share("k"))
	for i := range high[:many/2] {
		high[i].Current = addrs(fmt.Sprintf("10.1.%d.%d", 200+i/250, 1+i%250))
	}
	var several []config.Pool
	for i := range 50 {
		several = append(several, pool(fmt.Sprintf("p%02d", i), fmt.Sprintf("10.3.%d.1-10.3.%d.10", i, i)))
	}
	for _, c := range []struct {
		name     string
		pools    []config.Pool
		services []Service
	}{
		{"new", large(), crowd()},
		{"held", large(), held(crowd(), Allocate(large(), crowd()))},
		{"dual", large(), crowd(dual(require))},
		{"prefer", large(), crowd(dual(prefer))},
		{"full", []config.Pool{pool("a", "10.0.0.1-10.0.0.9")}, crowd()},
		{"pools", several, crowd()},
		{"shared-one-address", large(), numbered},
		{"shared-same-port", large(), crowd(share("k"))},
		{"shared-below-others", large(), high},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := Allocate(c.pools, c.services); len(got) != many {
					b.Fatal(len(got))
				}
			}
		})
	}
}

// BenchmarkOneOf is what one Service that comes and goes costs among others.
func BenchmarkOneOf(b *testing.B) {
	for _, n := range []int{20, many} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := NewLedger(large())
			for _, s := range crowd()[:n] {
				l.Set(s)
			}
			l.Settle()
			one := svc("one")
			for b.Loop() {
				l.Set(one)
				if got := l.Settle(); len(got) != 1 {
					b.Fatal(len(got))
				}
				l.Remove(one.Key)
				l.Settle()
				l.Usage()
			}
		})
	}
}
