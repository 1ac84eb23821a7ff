package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"minato/internal/host"
)

// server is one of those that are measured.
type server struct {
	name    string
	command func(w *world, port int) (*exec.Cmd, error)
}

// process is a server that runs.
type process struct {
	cmd    *exec.Cmd
	port   int
	output *bytes.Buffer
}

// coreDNS has kubeadm's Corefile, but for the addresses and what only watches it.
func coreDNS(binary string) server {
	return server{"coredns", func(w *world, port int) (*exec.Cmd, error) {
		corefile := filepath.Join(w.dir, "Corefile")
		text := fmt.Sprintf(`.:%d {
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig %s
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus 127.0.0.1:0
    forward . %s {
        max_concurrent 1000
    }
    cache 30
    loadbalance
}
`, port, w.kubeconfig, w.upstream)
		return exec.Command(binary, "-conf", corefile), os.WriteFile(corefile, []byte(text), 0o600)
	}}
}

// minatoDNS has its defaults, and the same upstream; the binary is minato-dns, or
// minato with everything else that is in it.
func minatoDNS(binary string) server {
	return server{"minato", func(w *world, port int) (*exec.Cmd, error) {
		args := []string{"--kubeconfig", w.kubeconfig, "--listen", fmt.Sprintf("127.0.0.1:%d", port),
			"--upstream", w.upstream, "--health", "", "--ready", "", "--metrics", "127.0.0.1:0"}
		if filepath.Base(binary) == "minato" {
			args = append([]string{"dns"}, args...)
		}
		return exec.Command(binary, args...), nil
	}}
}

// onProcessors keeps a command to some of the processors: the server has one half
// of them and dnsperf the other, so that neither takes time from the other. A
// machine with a single one has nothing to share out.
func onProcessors(cmd *exec.Cmd, first, end int) {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return
	}
	cmd.Args = append([]string{taskset, "-c", fmt.Sprintf("%d-%d", first, end-1), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = taskset
}

const startTimeout = 60 * time.Second

// start returns when the server answers a cluster name.
func (s server) start(ctx context.Context, w *world) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd, err := s.command(w, port)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, port: port, output: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	onProcessors(cmd, 0, runtime.NumCPU()/2)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	q := new(dns.Msg).SetQuestion(serviceName(0)+".svc.cluster.local.", dns.TypeA)
	for end := time.Now().Add(startTimeout); ctx.Err() == nil && time.Now().Before(end); {
		if in, err := p.ask("udp", q); err == nil && len(in.Answer) == 1 {
			return p, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("%s does not answer:\n%s", s.name, p.output)
}

func freePort() (int, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port, nil
}

func (p *process) ask(network string, q *dns.Msg) (*dns.Msg, error) {
	in, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(q, fmt.Sprintf("127.0.0.1:%d", p.port))
	return in, err
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait() // how it ended does not matter any more
}

// cpu is the time that the process has had of the processors.
func (p *process) cpu() time.Duration {
	use, err := host.ReadProcess(p.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	return use.CPU
}

// memory reads a field of the process's status, in MiB.
func (p *process) memory(field string) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}
