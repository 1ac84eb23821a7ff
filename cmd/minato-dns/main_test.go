package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/test/stock"
)

// asProgram makes the test binary the program itself, so that a test sees what a
// process does and needs.
const asProgram = "MINATO_DNS_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a minato-dns that runs.
type program struct {
	cmd    *exec.Cmd
	addr   string // of its DNS
	http   string // of its endpoints
	output *lockedBuffer
}

// lockedBuffer is written to while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startProgram returns when it is ready.
func startProgram(t *testing.T, kubeconfig string, args ...string) *program {
	t.Helper()
	p := &program{addr: freeAddress(t), http: freeAddress(t), output: &lockedBuffer{}}
	p.cmd = exec.Command(os.Args[0], append([]string{"--kubeconfig", kubeconfig, "--listen", p.addr,
		"--health", p.http, "--ready", p.http, "--metrics", p.http, "--resolv-conf", os.DevNull}, args...)...)
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("minato-dns said:\n%s", p.output)
		}
	})
	eventually(t, time.Minute, "minato-dns is ready", func() error { return p.get("/ready") })
	return p
}

// serverIP is a loopback address that no client has by chance, so that a port of
// it stays free.
const serverIP = "127.53.0.1"

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(serverIP, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p *program) get(path string) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + p.http + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// address asks for a name's only address.
func (p *program) address(name string) (string, error) {
	in, _, err := (&dns.Client{Timeout: 2 * time.Second}).Exchange(new(dns.Msg).SetQuestion(name+".default.svc.cluster.local.", dns.TypeA), p.addr)
	if err != nil {
		return "", err
	}
	if len(in.Answer) != 1 {
		return "", fmt.Errorf("%s, %d answers", dns.RcodeToString[in.Rcode], len(in.Answer))
	}
	a, ok := in.Answer[0].(*dns.A)
	if !ok {
		return "", fmt.Errorf("answered %s", in.Answer[0])
	}
	return a.A.String(), nil
}

// memory is the resident memory of the process, in MiB.
func (p *program) memory(t *testing.T) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

func eventually(t *testing.T, within time.Duration, what string, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", within, what, err)
		}
	}
}

// asking asks for every Service over and over, from several sockets at once, and
// tells of each answer that is not the right one.
type asking struct {
	wrong    sync.Map // what was wrong, to how often
	answered atomic.Int64
	stop     context.CancelFunc
	running  sync.WaitGroup
}

const (
	askers = 4
	// askEvery leaves processor time for the other work of the test.
	askEvery = time.Millisecond
)

func ask(p *program, addresses map[string]string) *asking {
	ctx, cancel := context.WithCancel(context.Background())
	a := &asking{stop: cancel}
	for range askers {
		a.running.Go(func() {
			for ctx.Err() == nil {
				for name, want := range addresses {
					got, err := p.address(name)
					if err != nil {
						got = err.Error()
					}
					if got == want {
						a.answered.Add(1)
					} else {
						n, _ := a.wrong.LoadOrStore(name+": "+got, new(atomic.Int64))
						n.(*atomic.Int64).Add(1)
					}
					if ctx.Err() != nil {
						return
					}
					time.Sleep(askEvery)
				}
			}
		})
	}
	return a
}

// end stops asking and fails the test if an answer was wrong.
func (a *asking) end(t *testing.T) {
	t.Helper()
	a.stop()
	a.running.Wait()
	a.wrong.Range(func(what, n any) bool {
		t.Errorf("%d times %s", n.(*atomic.Int64).Load(), what)
		return true
	})
	t.Logf("%d questions answered", a.answered.Load())
}

// each calls fn for every number below n, several at once.
func each(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	const workers = 8
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < n; i += workers {
				if err := fn(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// makeServices makes n Services and returns their addresses.
func makeServices(t *testing.T, c *stock.Cluster, prefix string, n int) map[string]string {
	t.Helper()
	addresses := make(map[string]string, n)
	var mu sync.Mutex
	each(t, n, func(i int) error {
		s, err := c.Client().CoreV1().Services("default").Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", prefix, i)},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		addresses[s.Name] = s.Spec.ClusterIP
		return nil
	})
	return addresses
}

func deleteServices(t *testing.T, c *stock.Cluster, prefix string, n int) {
	t.Helper()
	each(t, n, func(i int) error {
		return c.Client().CoreV1().Services("default").Delete(t.Context(), fmt.Sprintf("%s-%d", prefix, i), metav1.DeleteOptions{})
	})
}
