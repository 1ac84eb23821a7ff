package node

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Containers that mount the directory of logs may leave anything there.
func TestLogsAreReadWithinTheNode(t *testing.T) {
	c := &Config{Dir: t.TempDir()}
	dir := filepath.Join(c.logDir(), "ns_pod_uid", "app")
	outside := filepath.Join(t.TempDir(), "key")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{filepath.Join(dir, "0.log"): "log", outside: "key"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"within.log": "0.log", "absolute.log": outside, "up.log": "../../../../../../key"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo.log"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"0.log": "log", "within.log": "log", "absolute.log": "", "up.log": "", "fifo.log": "", ".": ""} {
		f, err := c.openLog(filepath.Join(dir, name))
		if want == "" {
			if err == nil {
				t.Errorf("%s was opened", name)
				f.Close()
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
		f.Close()
	}
}
