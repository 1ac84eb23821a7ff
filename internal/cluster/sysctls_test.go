package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A limit that clusters raise stays raised for as long as one of them is up,
// and then gets its earlier value back.
func TestRaisedLimitIsPutBack(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const limit = "net/core/somaxconn"
	ns := testNetns(t, "mt-raise")
	before := readSettings(t, ns, []string{limit})[0]
	record := filepath.Join(t.TempDir(), "sysctls.json")
	a, b := sysctls{record, "mt-a"}, sysctls{record, "mt-b"}
	do := func(fn func() error, want string) {
		t.Helper()
		if err := ns.Do(fn); err != nil {
			t.Fatal(err)
		}
		if got := readSettings(t, ns, []string{limit})[0]; got != want {
			t.Errorf("%s = %s, want %s", limit, got, want)
		}
	}
	do(func() error { return a.raise(limit, 1) }, before)
	if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a limit that was high enough is recorded: %v", err)
	}
	for range 2 { // the second time as after a server that was killed
		do(func() error { return a.raise(limit, 10_000) }, "10000")
	}
	do(func() error { return b.raise(limit, 9_000) }, "10000")
	do(a.restore, "10000")
	do(b.restore, before)
	do(func() error { return a.raise("net/core/no-such-limit", 1) }, before)
}
