package oomkill

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const memcg = "6,812,5099,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/minato/a/node-1,task_memcg=/minato/a/node-1/pods/x,task=tail,pid=4711,uid=0"
	for name, test := range map[string]struct {
		record string
		want   Kill
		ok     bool
	}{
		"a group's limit": {memcg, Kill{"/minato/a/node-1", "/minato/a/node-1/pods/x", "tail", 4711}, true},
		"the machine": {
			"6,1,1,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=user.slice,mems_allowed=0-1,global_oom,task_memcg=/user.slice,task=java,pid=12,uid=1000\n SUBSYSTEM=x\n",
			Kill{"", "/user.slice", "java", 12}, true,
		},
		"commas in names": {
			"6,1,1,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,b,task_memcg=/a,b/c,task=x,task=y,pid=3,pid=12,uid=0",
			Kill{"/a,b", "/a,b/c,task=x", "y,pid=3", 12}, true,
		},
		"a program's own record": {"14" + memcg[1:], Kill{}, false},
		"of a cpuset":            {"6,1,1,-;oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=/a,mems_allowed=0,task_memcg=/,task=x,pid=12,uid=0", Kill{}, false},
		"another one":            {"6,1,1,-;eth0: link is up", Kill{}, false},
		"cut":                    {memcg[:120], Kill{}, false},
		"no record":              {"oom-kill", Kill{}, false},
		"a negative process":     {"6,1,1,-;oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/,task=x,pid=-2,uid=0", Kill{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := parse(test.record); ok != test.ok || ok && got != test.want {
				t.Errorf("got %+v, %t", got, ok)
			}
		})
	}
}

func TestBelow(t *testing.T) {
	for path, want := range map[string]bool{
		"/minato/a/node-1": true, "/minato/a/node-1/pods/x": true, "/docker/1/minato/a/node-1/x": true,
		"/minato/a/node-10": false, "/minato/a": false, "/": false, "": false,
	} {
		if got := Below(path, "minato/a/node-1"); got != want {
			t.Errorf("%q: got %t", path, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("6,1,1,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/a,task=b,pid=1,uid=0")
	f.Fuzz(func(t *testing.T, record string) {
		if k, ok := parse(record); ok && (k.PID <= 0 || k.Cgroup == "") {
			t.Errorf("%q gives %+v", record, k)
		}
	})
}

// TestRunSeesTheKernel has the kernel kill a process for the limit of a group of its own.
func TestRunSeesTheKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	group, limit, procs := makeGroup(t)
	seen := make(chan Kill, 64)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, func(k Kill) { seen <- k }) }()
	if err := os.WriteFile(limit, []byte("8388608"), 0); err != nil {
		t.Fatal(err)
	}
	// The shell enters the group, and then tail keeps a line without an end in memory. Run may not be at the end of the
	// log yet, so there is a kill until it has seen one.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		cmd := exec.CommandContext(ctx, "sh", "-c", "echo $$ > "+procs+" && exec tail /dev/zero")
		_ = cmd.Run() // it is killed
		select {
		case k := <-seen:
			if !Below(k.Limit, filepath.Base(group)) {
				continue // somebody else's
			}
			if k.Process != "tail" || !Below(k.Cgroup, filepath.Base(group)) {
				t.Errorf("got %+v", k)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			return
		case err := <-done:
			if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
				t.Skip(err)
			}
			t.Fatalf("no kill was seen: %v", err)
		case <-tick.C:
		}
	}
}

// makeGroup makes a control group with a memory controller, and names its files.
func makeGroup(t *testing.T) (dir, limit, procs string) {
	t.Helper()
	name := "minato-oomkill-" + strconv.Itoa(os.Getpid())
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return dir, filepath.Join(dir, file), filepath.Join(dir, "cgroup.procs")
		}
	}
	t.Skip("this machine gives no control group with a limit of memory")
	return "", "", ""
}
