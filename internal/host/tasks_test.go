package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTasks(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sys/kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("loadavg", "0.00 0.01 0.05 1/70345 6789\n")
	for _, c := range []struct {
		pids, threads string
		want          int64
	}{{"4194304\n", "15432\n", 15432}, {"32768\n", "1026816\n", 32768}} {
		write("sys/kernel/pid_max", c.pids)
		write("sys/kernel/threads-max", c.threads)
		if running, limit, err := tasksIn(dir); running != 70345 || limit != c.want || err != nil {
			t.Errorf("%d of %d, %v, want 70345 of %d", running, limit, err, c.want)
		}
	}
	write("loadavg", "0.00\n")
	if _, _, err := tasksIn(dir); err == nil {
		t.Error("no error of a loadavg that is none")
	}
	if running, limit, err := MachineTasks(); err != nil || running <= 0 || limit <= running {
		t.Errorf("this machine has %d of %d, %v", running, limit, err)
	}
}
