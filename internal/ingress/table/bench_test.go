package table

import (
	"fmt"
	"syscall"
	"testing"
)

// cpu reports the processor's time, which says more than the clock where other programs run.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

// oneHost has n paths on one host, eachHost has n hosts with one path.
func oneHost(n int) (*Builder, []string, []string) {
	b := NewBuilder()
	var hosts, paths []string
	for i := range n {
		p := fmt.Sprintf("/team-%d/app-%d", i%97, i)
		b.Set(ing(fmt.Sprintf("i%d", i), i%1000, "www.example.com P "+p+" s"+fmt.Sprint(i%500)+":80"))
		hosts, paths = append(hosts, "www.example.com"), append(paths, p+"/index.html")
	}
	return b, hosts, paths
}

func eachHost(n int) (*Builder, []string, []string) {
	b := NewBuilder()
	var hosts, paths []string
	for i := range n {
		h := fmt.Sprintf("app-%d.team-%d.example.com", i, i%97)
		b.Set(ing(fmt.Sprintf("i%d", i), i%1000, h+" P /api s"+fmt.Sprint(i%500)+":80", h+" P / s:80"))
		hosts, paths = append(hosts, h), append(paths, "/api/v1/items/7")
	}
	return b, hosts, paths
}

func patternHost(n int) (*Builder, []string, []string) {
	b := NewBuilder()
	var hosts, paths []string
	for i := range n {
		p := fmt.Sprintf("/team-%d/app-%d", i%97, i)
		b.Set(ing(fmt.Sprintf("i%d", i), i%1000, "www.example.com I "+p+"(/|$)(.*) s"+fmt.Sprint(i%500)+":80").with(rewrite("/$2")))
		hosts, paths = append(hosts, "www.example.com"), append(paths, p+"/index.html")
	}
	return b, hosts, paths
}

func BenchmarkMatch(b *testing.B) {
	for _, kind := range []struct {
		name string
		make func(int) (*Builder, []string, []string)
	}{{"paths", oneHost}, {"hosts", eachHost}, {"patterns", patternHost}} {
		for _, n := range []int{100, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				builder, hosts, paths := kind.make(n)
				t := builder.Table()
				var m Match
				b.ReportAllocs()
				done := cpu(b)
				for i := 0; b.Loop(); i++ {
					// A large odd stride goes through all of them without order.
					k := i * 7919 % n
					t.Match(hosts[k], paths[k], &m)
					if m.Route.Generated {
						b.Fatalf("%s%s has no route", hosts[k], paths[k])
					}
				}
				done()
			})
		}
	}
}

// An edit of one path among many.
func BenchmarkEdit(b *testing.B) {
	for _, kind := range []struct {
		name string
		make func(int) (*Builder, []string, []string)
		line string
		with func(*Ingress)
	}{
		{"paths", oneHost, "www.example.com P /team-3/app-new s%d:80", func(*Ingress) {}},
		{"hosts", eachHost, "app-new.example.com P / s%d:80", func(*Ingress) {}},
		{"patterns", patternHost, "www.example.com I /team-3/app-new(/|$)(.*) s%d:80", rewrite("/$2")},
	} {
		for _, n := range []int{100, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				builder, _, _ := kind.make(n)
				builder.Table()
				b.ReportAllocs()
				done := cpu(b)
				for i := 0; b.Loop(); i++ {
					builder.Set(ing("new", 0, fmt.Sprintf(kind.line, i%2)).with(kind.with))
					builder.Table()
				}
				done()
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				builder, _, _ := eachHost(n)
				builder.Table()
			}
		})
	}
}
