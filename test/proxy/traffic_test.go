package proxy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"minato/internal/host"
	"minato/test/lab"
)

const helperEnv = "MT_PROXY_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		helperMain()
		return
	}
	if cfg := os.Getenv(agentEnv); cfg != "" {
		if err := agentMain(cfg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type asker func(network, addr string) lab.Answer

// packets makes an asker whose sockets no program sees.
func packets(ns host.Netns) asker {
	return func(network, addr string) lab.Answer { return lab.Ask(ns, network, addr) }
}

// sockets makes an asker that is a process of a Pod: in the Pod's namespace and the node's cgroup.
func sockets(t *testing.T, ns host.Netns, cgroup string) asker {
	t.Helper()
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // which ends it
		cmd.Wait()
	})
	decoder := json.NewDecoder(out)
	return func(network, addr string) (a lab.Answer) {
		if err := json.NewEncoder(in).Encode([2]string{network, addr}); err != nil {
			return lab.Answer{Err: err.Error()}
		}
		if err := decoder.Decode(&a); err != nil {
			return lab.Answer{Err: err.Error()}
		}
		return a
	}
}

func helperMain() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var r [2]string
	for in.Decode(&r) == nil {
		out.Encode(lab.Ask(host.Netns{}, r[0], r[1]))
	}
}
