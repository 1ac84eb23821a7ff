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
)

// UpResult says what `up` brought about.
type UpResult struct {
	Kubeconfig string // the file that has the context now
	Context    string
	Was        bool // it was running before
}

// Up brings up the cluster that c describes and returns when every node is
// Ready and DNS answers, or when ctx ends. Steps are told to onEvent as they
// happen. A start that fails leaves nothing behind but, where it existed
// before, the cluster's data.
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
	}
	pid, err := liveServer(ctx, paths)
	if err != nil {
		return UpResult{}, err
	}
	if pid == 0 {
		if err := Preflight(ctx, c); err != nil {
			return UpResult{}, err
		}
		if err := c.Save(); err != nil {
			return UpResult{}, err
		}
		if err := startServer(ctx, c, onEvent); err != nil {
			return UpResult{}, errors.Join(err, undo(c, known))
		}
	}
	file, err := giveKubeconfig(c)
	return UpResult{Kubeconfig: file, Context: c.ContextName(), Was: pid != 0}, err
}

// endingFor is how long a server that was just killed may take to be gone.
const endingFor = 3 * time.Second

// liveServer returns the process that serves the cluster, 0 where there is
// none, or none any more once one that no longer answers has ended.
func liveServer(ctx context.Context, p Paths) (int, error) {
	pid, err := serverPID(p)
	if err != nil || pid == 0 || call(ctx, p, http.MethodGet, "/status", nil) == nil {
		return pid, err
	}
	ctx, cancel := context.WithTimeout(ctx, endingFor)
	defer cancel()
	if waitStopped(ctx, p) == nil {
		return 0, nil
	}
	return pid, nil
}

// undo takes back a start that failed: a cluster that did not exist before
// goes as a whole.
func undo(c Config, known bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if known {
		return stop(ctx, c.Name, true)
	}
	return Delete(ctx, c.Name)
}

// sameCluster refuses flags that an existing cluster can't be changed to.
func sameCluster(old, new Config) error {
	old.Kubeconfig, new.Kubeconfig = "", ""
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
	cmd := exec.Command(self, "server", "--name", c.Name, "--progress-fd", "3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	err = cmd.Start()
	write.Close()
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
		if err := c.Save(); err != nil { // `delete` removes the file again
			return "", err
		}
	}
	return writeKubeconfig(c, admin, c.Kubeconfig)
}
