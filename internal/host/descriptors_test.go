package host

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRaiseDescriptors runs itself in a process that may have few files open.
func TestRaiseDescriptors(t *testing.T) {
	const child = "MINATO_TEST_RAISE_DESCRIPTORS"
	if os.Getenv(child) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root, to raise a hard limit")
		}
		cmd := exec.Command("sh", "-c", `ulimit -n 2000 && exec "$0" -test.run '^TestRaiseDescriptors$' -test.v`, os.Args[0])
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	most, err := maxDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	permitted := func(n uint64) uint64 { return n }
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 2000, Max: 2001}) != nil {
		t.Log("without CAP_SYS_RESOURCE nothing beyond the hard limit is given")
		permitted = func(n uint64) uint64 { return min(n, 2000) }
	}
	for _, c := range []struct{ want, get uint64 }{{1000, 2000}, {2000, 2000}, {5000, 5000}, {3000, 5000}, {most + 1, most}} {
		got, err := RaiseDescriptors(c.want)
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if want := permitted(c.get); err != nil || got != want || limit.Cur != want {
			t.Errorf("raising to %d gives %d, %v; the limit is %+v, want %d", c.want, got, err, limit, want)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 1500}); err != nil {
		t.Fatal(err)
	}
	if got, err := RaiseDescriptors(1200); err != nil || got != 1200 {
		t.Errorf("raising below the hard limit gives %d, %v", got, err)
	}
}
