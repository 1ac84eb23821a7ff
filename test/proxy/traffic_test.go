package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"minato/internal/host"
)

const (
	helperEnv = "MT_PROXY_HELPER"
	// askTimeout is more than any answer takes, and what a test of silence costs.
	askTimeout = 2 * time.Second
)

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

// serve answers TCP and UDP clients at port 8080 of an address of each family with the server's name and the client's
// address.
func serve(t *testing.T, ns host.Netns, name, ip string) {
	t.Helper()
	for _, f := range families {
		serveAt(t, ns, name, f.at(ip, 8080))
	}
}

func serveAt(t *testing.T, ns host.Netns, name, addr string) {
	t.Helper()
	accept(t, ns, addr, func(c net.Conn) { fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr()) })
	packets, err := ns.ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			packets.WriteTo(fmt.Appendf(nil, "%s %s\n", name, from), from)
		}
	}()
}

// answer is what a client saw.
type answer struct {
	Server string // name of the server that answered
	Client string // the client's address, without the port, as the server saw it
	Took   time.Duration
	Err    string
}

func (a answer) refused() bool { return strings.Contains(a.Err, "refused") && a.Took < askTimeout/2 }
func (a answer) silent() bool  { return strings.Contains(a.Err, "timeout") }

// ask asks with a socket of this process, which is in no node's cgroup, so that packets are what there is to work on.
func ask(ns host.Netns, network, addr string) answer {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	fail := func(err error) answer { return answer{Err: err.Error(), Took: time.Since(start)} }
	c, err := ns.DialContext(ctx, network, addr)
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	c.SetDeadline(start.Add(askTimeout))
	if network == "udp" {
		if _, err := c.Write([]byte("hello")); err != nil {
			return fail(err)
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return fail(err)
	}
	if got := c.RemoteAddr().String(); got != addr {
		return fail(fmt.Errorf("the peer calls itself %s", got))
	}
	a := answer{Took: time.Since(start)}
	var client string
	a.Server, client, _ = strings.Cut(strings.TrimSpace(line), " ")
	a.Client, _, _ = net.SplitHostPort(client)
	return a
}

type asker func(network, addr string) answer

// packets makes an asker whose sockets no program sees.
func packets(ns host.Netns) asker {
	return func(network, addr string) answer { return ask(ns, network, addr) }
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
	return func(network, addr string) (a answer) {
		if err := json.NewEncoder(in).Encode([2]string{network, addr}); err != nil {
			return answer{Err: err.Error()}
		}
		if err := decoder.Decode(&a); err != nil {
			return answer{Err: err.Error()}
		}
		return a
	}
}

func helperMain() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var r [2]string
	for in.Decode(&r) == nil {
		out.Encode(ask(host.Netns{}, r[0], r[1]))
	}
}

// forward lets clients in a namespace reach an address of this process's own.
func forward(t *testing.T, ns host.Netns, addr string) {
	t.Helper()
	accept(t, ns, addr, func(c net.Conn) {
		up, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer up.Close()
		go func() {
			defer up.Close()
			io.Copy(up, c)
		}()
		io.Copy(c, up)
	})
}

// accept handles TCP clients at an address, each in a goroutine, until the test ends.
func accept(t *testing.T, ns host.Netns, addr string, handle func(net.Conn)) {
	t.Helper()
	l, err := ns.Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
}
