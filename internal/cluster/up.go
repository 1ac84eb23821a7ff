package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"minato/internal/host"
)

// UpResult describes the cluster that is up.
type UpResult struct {
	Kubeconfig string // the file that has the context now
	Context    string
	Was        bool // it was running before
}

// Up brings up the cluster that c describes and returns when every node is
// Ready and DNS answers, or when ctx ends. onEvent is called with the steps as
// they happen. A start that fails takes back what it made itself and nothing
// else: data and Pods that were there before stay.
func Up(ctx context.Context, c Config, onEvent func(Event)) (UpResult, error) {
	paths := Paths{Name: c.Name}
	var err error
	if c.Kubeconfig, err = absolute(c.Kubeconfig); err != nil {
		return UpResult{}, err
	}
	if err := c.Validate(); err != nil {
		return UpResult{}, err
	}
	if err := RequireRoot(); err != nil {
		return UpResult{}, err
	}
	existing, err := LoadConfig(c.Name)
	known := err == nil
	if err != nil && !errors.Is(err, ErrNoCluster) {
		return UpResult{}, err
	}
	if known {
		if err := sameCluster(existing, c); err != nil {
			return UpResult{}, err
		}
		c.NodeList = existing.NodeList
	}
	running, err := awaitServer(ctx, paths)
	if err != nil {
		return UpResult{}, err
	}
	switch {
	case running && known && existing.OldAPIs != c.OldAPIs:
		return UpResult{}, fmt.Errorf("cluster %q is running with --old-apis=%t: `minato down%s`, and then `up` with --old-apis=%t", c.Name, existing.OldAPIs, nameFlag(c.Name), c.OldAPIs)
	case !running:
		if err := start(ctx, c, known, onEvent); err != nil {
			return UpResult{}, err
		}
	}
	file, err := giveKubeconfig(c)
	return UpResult{Kubeconfig: file, Context: c.ContextName(), Was: running}, err
}

// start brings up a cluster whose server does not run.
func start(ctx context.Context, c Config, known bool, onEvent func(Event)) error {
	paths := Paths{Name: c.Name}
	// A server that fails at each start has a keeper that tries again. Both are
	// ended here, so that this start shows the error. Their cgroup is made
	// anew: Linux 6.18 also kills a process that is cloned into a cgroup which
	// was killed before, where its parent's was not.
	cgroup := paths.ServerCgroup()
	if err := cgroup.Kill(ctx); err != nil && !errors.Is(err, host.ErrNoCgroup2) {
		return err
	}
	if err := cgroup.Delete(); err != nil && !errors.Is(err, host.ErrNoCgroup2) {
		return err
	}
	if err := Preflight(ctx, c); err != nil {
		return err
	}
	// The run directory exists where an earlier server has left Pods running.
	_, err := os.Stat(paths.Run())
	left := err == nil
	if err := c.Save(); err != nil {
		return err
	}
	if err := startServer(ctx, c, onEvent); err != nil {
		return errors.Join(err, undo(c, known, left))
	}
	return nil
}

// restartingFor is how long a server that ended unexpectedly may take to be
// started again.
const restartingFor = 2 * time.Second

// awaitServer returns true when the server is ready, waiting for one that is
// about to be, or false when there is none or it has ended.
func awaitServer(ctx context.Context, p Paths) (bool, error) {
	lost := time.Now()
	for {
		pid, err := serverPID(p)
		if err != nil {
			return false, err
		}
		if pid == 0 {
			kept, err := p.serverKeeper().Running()
			if err != nil && !errors.Is(err, host.ErrNoCgroup2) {
				return false, err
			}
			if !kept || time.Since(lost) > restartingFor {
				return false, nil
			}
		} else {
			lost = time.Now()
			var s Status
			if call(ctx, p, http.MethodGet, "/status", &s) == nil && s.Ready {
				return true, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("the server of cluster %q, process %d, is not ready: %w; `minato down%s` ends it", p.Name, pid, context.Cause(ctx), nameFlag(p.Name))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// undo takes back what a start that failed has made: all of a cluster that did
// not exist before, all but the data of one that was down, and nothing but the
// server of one whose Pods were running.
func undo(c Config, known, left bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	switch {
	case !known:
		return Delete(ctx, c.Name)
	case left:
		return endServer(ctx, Paths{Name: c.Name}, 0)
	}
	return stop(ctx, c.Name, 0)
}

// sameCluster returns an error if flags differ from those settings of an existing
// cluster that can't be changed.
func sameCluster(old, new Config) error {
	old.Kubeconfig, new.Kubeconfig = "", ""
	old.NodeList, new.NodeList = nil, nil   // `minato node` changes it
	old.OldAPIs, new.OldAPIs = false, false // objects are stored in today's versions either way
	if reflect.DeepEqual(old, new) {
		return nil
	}
	a, b := reflect.ValueOf(old), reflect.ValueOf(new)
	var differ []string
	for i := range a.NumField() {
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			differ = append(differ, fmt.Sprintf("%s is %v, asked for %v", a.Type().Field(i).Name, a.Field(i), b.Field(i)))
		}
	}
	return fmt.Errorf("cluster %q exists with other settings (%s): leave the flags out to keep them, or `minato delete%s` first", old.Name, strings.Join(differ, "; "), nameFlag(old.Name))
}

// startServer starts `minato server` in a session of its own and follows its
// progress to the end of the start.
func startServer(ctx context.Context, c Config, onEvent func(Event)) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	log, err := os.OpenFile(Paths{Name: c.Name}.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer read.Close()
	cgroup, err := openCgroup(Paths{Name: c.Name}.ServerCgroup())
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	cmd := exec.Command(self, "server", "--name", c.Name, "--keep", "--progress-fd", "3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	cmd.Dir = "/"
	err = cmd.Start()
	write.Close()
	cgroup.Close()
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	followed := make(chan error, 1)
	go func() { followed <- follow(read, onEvent) }()
	select {
	case err = <-followed:
	case <-ctx.Done():
		read.Close()
		err = fmt.Errorf("the cluster did not become ready: %w", context.Cause(ctx))
	}
	if err != nil {
		cmd.Process.Signal(syscall.SIGTERM)
		go cmd.Wait()
		return fmt.Errorf("%w\nwhat the server printed last:\n%s", err, tail(log.Name(), 15))
	}
	return cmd.Process.Release()
}

// openCgroup makes a cgroup and opens it, for a process to be started in it.
func openCgroup(c host.Cgroup) (*os.File, error) {
	if err := c.Create(); err != nil {
		return nil, err
	}
	return os.Open(c.V2())
}

// follow reads events until the one that ends the start.
func follow(r io.Reader, onEvent func(Event)) error {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		var e Event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			return fmt.Errorf("read the server's progress: %w", err)
		}
		onEvent(e)
		switch {
		case e.Ready:
			return nil
		case e.Error != "":
			return errors.New(e.Error)
		}
	}
	return errors.New("the server ended before the cluster was ready")
}

// tail returns the last lines of a file, indented.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "  " + err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// giveKubeconfig writes the administrator's context for the user.
func giveKubeconfig(c Config) (string, error) {
	admin, err := clientcmd.LoadFromFile(Paths{Name: c.Name}.Kubeconfig())
	if err != nil {
		return "", fmt.Errorf("read the administrator's kubeconfig: %w", err)
	}
	if c.Kubeconfig != "" {
		if err := os.MkdirAll(filepath.Dir(c.Kubeconfig), 0o755); err != nil {
			return "", err
		}
		// `delete` removes the file again. The server may have changed the nodes.
		saved, err := LoadConfig(c.Name)
		if err != nil {
			return "", err
		}
		saved.Kubeconfig = c.Kubeconfig
		if err := saved.Save(); err != nil {
			return "", err
		}
	}
	return writeKubeconfig(c, admin, c.Kubeconfig)
}
