package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/bcrypt"
)

// registryProcess is a process of Debian's docker-registry, which a script may end and
// start again.
type registryProcess struct {
	dir, addr string
	cmd       *exec.Cmd // nil while it does not run
	output    lockedBuffer

	mu    sync.Mutex
	ended chan struct{} // closed when it was killed
}

// alive is closed when the process that runs now, or has run last, is killed. What
// it has sent may still be on its way then.
func (r *registryProcess) alive() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// registryAt finds the registry of an address; nil if it is none of the script's.
func registryAt(ts *testscript.TestScript, addr string) *registryProcess {
	for _, r := range registriesOf(ts) {
		if r.addr == addr {
			return r
		}
	}
	return nil
}

// registriesKey is where a script's registries are, by the variables that name them.
const registriesKey = "registries"

func registriesOf(ts *testscript.TestScript) map[string]*registryProcess {
	return ts.Value(registriesKey).(map[string]*registryProcess)
}

func registryIn(ts *testscript.TestScript, variable string) *registryProcess {
	r, ok := registriesOf(ts)[variable]
	if !ok {
		ts.Fatalf("there is no registry %s; `registry start %s` starts one", variable, variable)
	}
	return r
}

func startRegistry(ts *testscript.TestScript, variable string) {
	cert, key := certify(ts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	r := &registryProcess{dir: ts.MkAbs("registry-" + variable), addr: l.Addr().String()}
	ts.Check(l.Close())
	ts.Check(os.MkdirAll(r.dir, 0o755))
	ts.Check(r.setPassword(registryPassword))
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q, tls: {certificate: %s, key: %s}}\nauth: {htpasswd: {realm: test, path: %s/htpasswd}}\ncompatibility: {schema1: {enabled: true}}\n", r.dir, r.addr, cert, key, r.dir)
	ts.Check(os.WriteFile(filepath.Join(r.dir, "config.yml"), []byte(config), 0o600))
	ts.Check(r.serve())
	ts.Defer(r.kill)
	registriesOf(ts)[variable] = r
	ts.Setenv(variable, r.addr)
}

func (r *registryProcess) setPassword(password string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "htpasswd"), []byte(registryUser+":"+string(hash)+"\n"), 0o600)
}

// serve returns when the registry accepts connections.
func (r *registryProcess) serve() error {
	r.cmd = exec.Command("docker-registry", "serve", filepath.Join(r.dir, "config.yml"))
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	if err := r.cmd.Start(); err != nil {
		r.cmd = nil
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); ; pause(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err == nil {
			r.mu.Lock()
			r.ended = make(chan struct{})
			r.mu.Unlock()
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("docker-registry does not serve: %w: %s", err, r.output.buf.String())
		}
	}
}

func (r *registryProcess) kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait() // it was killed
	r.cmd = nil
	close(r.ended)
}
