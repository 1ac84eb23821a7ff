package table

import (
	"fmt"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"
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
func oneHost(n int) (*Builder, func(buf []byte, i int) (host, path []byte)) {
	b := NewBuilder()
	for i := range n {
		p := fmt.Sprintf("/team-%d/app-%d", i%97, i)
		b.Set(ing(fmt.Sprintf("i%d", i), i%1000, "www.example.com P "+p+" s"+fmt.Sprint(i%500)+":80"))
	}
	www := []byte("www.example.com")
	return b, func(buf []byte, i int) (host, path []byte) {
		buf = strconv.AppendInt(append(buf, "/team-"...), int64(i%97), 10)
		buf = strconv.AppendInt(append(buf, "/app-"...), int64(i), 10)
		return www, append(buf, "/index.html"...)
	}
}

func eachHost(n int) (*Builder, func(buf []byte, i int) (host, path []byte)) {
	b := NewBuilder()
	for i := range n {
		h := fmt.Sprintf("app-%d.team-%d.example.com", i, i%97)
		b.Set(ing(fmt.Sprintf("i%d", i), i%1000, h+" P /api s"+fmt.Sprint(i%500)+":80", h+" P / s:80"))
	}
	api := []byte("/api/v1/items/7")
	return b, func(buf []byte, i int) (host, path []byte) {
		buf = strconv.AppendInt(append(buf, "app-"...), int64(i), 10)
		buf = strconv.AppendInt(append(buf, ".team-"...), int64(i%97), 10)
		return append(buf, ".example.com"...), api
	}
}

func patternHost(n int) (*Builder, func(buf []byte, i int) (host, path []byte)) {
	b := NewBuilder()
	for i := range n {
		p := fmt.Sprintf("/team-%d/app-%d", i%97, i)
		b.Set(ing(fmt.Sprintf("i%d", i), i%1000, "www.example.com I "+p+"(/|$)(.*) s"+fmt.Sprint(i%500)+":80").with(rewrite("/$2")))
	}
	www := []byte("www.example.com")
	return b, func(buf []byte, i int) (host, path []byte) {
		buf = strconv.AppendInt(append(buf, "/team-"...), int64(i%97), 10)
		buf = strconv.AppendInt(append(buf, "/app-"...), int64(i), 10)
		return www, append(buf, "/index.html"...)
	}
}

// view is a string of bytes that are in the cache, as those of a request are.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func BenchmarkMatch(b *testing.B) {
	for _, kind := range []struct {
		name string
		make func(int) (*Builder, func(buf []byte, i int) (host, path []byte))
	}{{"paths", oneHost}, {"hosts", eachHost}, {"patterns", patternHost}} {
		for _, n := range []int{100, 10_000, 100_000, -10_000, -100_000} {
			// A negative number has requests for 64 of the routes alone, which stay in the cache.
			name, used := fmt.Sprintf("%s/%d", kind.name, n), n
			if n < 0 {
				n, used = -n, 64
				name = fmt.Sprintf("%s/%d/hot", kind.name, n)
			}
			b.Run(name, func(b *testing.B) {
				builder, request := kind.make(n)
				t := builder.Table()
				var m Match
				buf := make([]byte, 0, 256)
				runtime.GC()
				b.ReportAllocs()
				done := cpu(b)
				for i := 0; b.Loop(); i++ {
					// A large odd stride goes through all of them without order.
					k := i * 7919 % used
					host, path := request(buf, k)
					t.Match(view(host), view(path), &m)
					if m.Route.Generated {
						b.Fatalf("%s%s has no route", host, path)
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
		make func(int) (*Builder, func(buf []byte, i int) (host, path []byte))
		line string
		with func(*Ingress)
	}{
		{"paths", oneHost, "www.example.com P /team-3/app-new s%d:80", func(*Ingress) {}},
		{"hosts", eachHost, "app-new.example.com P / s%d:80", func(*Ingress) {}},
		{"patterns", patternHost, "www.example.com I /team-3/app-new(/|$)(.*) s%d:80", rewrite("/$2")},
	} {
		for _, n := range []int{100, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				builder, _ := kind.make(n)
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

// What 10,000 Ingresses take: time to build, and bytes of each that stay.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var ings []*Ingress
			for i := range n {
				ings = append(ings, ing(fmt.Sprintf("i%d", i), i%1000, fmt.Sprintf("app-%d.example.com P /api s%d:80", i, i%500)))
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			done := cpu(b)
			var kept *Builder
			for b.Loop() {
				kept = NewBuilder()
				for _, i := range ings {
					kept.Set(i)
				}
				kept.Table()
			}
			done()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(n), "kept-B/ingress")
			runtime.KeepAlive(kept)
		})
	}
}
