package controlplane

import (
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// residentMB is one of /proc/self/status' figures of this process' memory.
// RssAnon is its own; VmRSS, which ps shows, also counts the pages of its file.
func residentMB(tb testing.TB, name string) float64 {
	tb.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip("no /proc: ", err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			if err != nil {
				tb.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	tb.Fatalf("no %s", name)
	return 0
}

func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdle measures a control plane that nobody uses. MINATO_TEST_HEAP
// names a file for a heap profile.
//
//	go test -run=NONE -bench=Idle -benchtime=1x ./internal/controlplane
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		r := launch(b, shortDir(b), nil)
		time.Sleep(20 * time.Second) // wait until it is idle: this is what is measured
		before, begin := cpuTime(b), time.Now()
		time.Sleep(20 * time.Second)
		b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/time.Since(begin).Seconds()/1000, "cpu-ms/s")
		b.ReportMetric(residentMB(b, "VmRSS"), "RSS-MB")
		b.ReportMetric(residentMB(b, "RssAnon"), "own-MB")
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MB")
		b.ReportMetric(float64(m.StackInuse)/(1<<20), "stack-MB")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
		const mb = 1 << 20
		b.Logf("heap: in use %d MB, idle %d MB, released %d MB; stacks %d MB; runtime: %d MB",
			m.HeapInuse/mb, m.HeapIdle/mb, m.HeapReleased/mb, m.StackSys/mb, (m.MSpanSys+m.MCacheSys+m.BuckHashSys+m.GCSys+m.OtherSys)/mb)
		if path := os.Getenv("MINATO_TEST_HEAP"); path != "" {
			f, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			if err := pprof.WriteHeapProfile(f); err != nil {
				b.Error(err)
			}
			_ = f.Close()
		}
		r.stop(b)
	}
}
