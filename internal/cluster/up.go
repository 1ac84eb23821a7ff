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
	"reflect"
	"strings"
	"syscall"
	"time"

	"minato/internal/host"
)

// UpResult describes the cluster that is up.
type UpResult struct {
	Kubeconfig string // the file that has the context now
	Context    string
	Was        bool // it was running before
	Config     Config
	Chosen     []string // flags and values of settings that were chosen because the usual ones are taken
}

// Up brings up the cluster that c describes and returns when every node is
// Ready and DNS answers, or when ctx ends. onEvent is called with the steps as
// they happen. Ranges and a port that c leaves out are chosen for a cluster that
// does not exist yet: the usual ones or, where something on the machine has
// these, others that are free. A start that fails takes back what it made itself
// and nothing else: data and Pods that were there before stay.
func Up(ctx context.Context, c Config, onEvent func(Event)) (UpResult, error) {
	paths := Paths{Name: c.Name}
	var err error
	if c.Kubeconfig, err = absolute(c.Kubeconfig); err != nil {
		return UpResult{}, err
	}
	if c.Registries, err = c.Registries.absolute(); err != nil {
		return UpResult{}, err
	}
	if err := ValidateName(c.Name); err != nil {
		return UpResult{}, SettingError{err}
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
		c = c.WithDefaultRanges()
		if err := errors.Join(c.Validate(), sameCluster(existing, c)); err != nil {
			return UpResult{}, err
		}
		c.NodeList, c.PodUsers = existing.NodeList, existing.PodUsers
		if c.Registries != existing.Registries {
			if err := c.validateRegistries(c.NodeSpecs()); err != nil {
				return UpResult{}, err
			}
		}
	}
	var chosen []string
	running, err := awaitServer(ctx, paths)
	if err != nil {
		return UpResult{}, err
	}
	switch {
	case running && known && existing.OldAPIs != c.OldAPIs:
		return UpResult{}, fmt.Errorf("cluster %q is running with --old-apis=%t: `minato down%s`, and then `up` with --old-apis=%t", c.Name, existing.OldAPIs, nameFlag(c.Name), c.OldAPIs)
	case running && !known:
		return UpResult{}, fmt.Errorf("cluster %q is running, and its settings in %s are gone: `minato delete%s` removes it", c.Name, paths.Config(), nameFlag(c.Name))
	case running && known && !sameMounts(existing.Mounts, c.Mounts):
		return UpResult{}, fmt.Errorf("cluster %q is running with other directories of the machine (--mount %q): `minato down%s`, and then `up` with those that its nodes are to have", c.Name, existing.Mounts.String(), nameFlag(c.Name))
	case running && known && !reflect.DeepEqual(existing.Claim, c.Claim):
		return UpResult{}, fmt.Errorf("cluster %q is running, and each node has %s: `minato down%s`, and then `up` with what each is to have", c.Name, existing.Claim, nameFlag(c.Name))
	case running && known && existing.Registries != c.Registries:
		return UpResult{}, fmt.Errorf("cluster %q is running with other settings for registries: `minato down%s`, and then `up` with those that it is to have", c.Name, nameFlag(c.Name))
	case running && known && !sameKubelet(existing, c):
		return UpResult{}, fmt.Errorf("cluster %q is running with other settings of its nodes' agents (--kubelet-config): `minato down%s`, and then `up` with those that they are to have", c.Name, nameFlag(c.Name))
	case !running:
		if c, chosen, err = start(ctx, c, known, onEvent); err != nil {
			return UpResult{}, err
		}
	}
	file, err := giveKubeconfig(c)
	return UpResult{Kubeconfig: file, Context: c.ContextName(), Was: running, Config: c, Chosen: chosen}, err
}

// start brings up a cluster whose server does not run, and returns its settings,
// with those that it has chosen.
func start(ctx context.Context, c Config, known bool, onEvent func(Event)) (_ Config, chosen []string, err error) {
	paths := Paths{Name: c.Name}
	// The run directory exists where an earlier server has left Pods running.
	_, err = os.Stat(paths.Run())
	left := err == nil
	if known {
		err = prepare(ctx, c, known)
	} else {
		c, chosen, err = found(ctx, c)
	}
	if err != nil {
		return c, nil, err
	}
	if err := startServer(ctx, c, onEvent); err != nil {
		took, undoing := undo(c, known, left)
		if errors.Is(err, ErrInterrupted) && undoing == nil {
			return c, nil, fmt.Errorf("%w: %s", ErrInterrupted, took)
		}
		return c, nil, errors.Join(err, undoing)
	}
	return c, chosen, nil
}

// found makes the settings of a new cluster and writes them down, so that no other
// start chooses the same.
func found(ctx context.Context, c Config) (_ Config, chosen []string, err error) {
	if err := c.IPFamily.validate(); err != nil {
		return c, nil, SettingError{err}
	}
	unlock, err := lockChoice(ctx)
	if err != nil {
		return c, nil, err
	}
	defer unlock()
	t, err := findTaken(c.Name)
	if err != nil {
		return c, nil, err
	}
	if c, chosen, err = t.choose(c); err != nil {
		return c, nil, err
	}
	if c.APIPort == 0 {
		if c.APIPort, err = t.choosePort(func(port int) bool { return portIsFree(ctx, c.Loopback(), port) }); err != nil {
			return c, nil, err
		}
		if c.APIPort != defaultAPIPort {
			chosen = append(chosen, fmt.Sprintf("--api-port %d", c.APIPort))
		}
	}
	if err := errors.Join(c.Validate(), c.validateRegistries(c.NodeSpecs())); err != nil {
		return c, nil, err
	}
	c.Created = time.Now().UTC().Truncate(time.Second)
	return c, chosen, prepare(ctx, c, false)
}

// prepare clears what an earlier server left that would be in the way, looks for
// obstacles and writes the settings down.
func prepare(ctx context.Context, c Config, known bool) error {
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
	if err := Preflight(ctx, c, known); err != nil {
		return err
	}
	c, err := c.withUsers(known)
	if err != nil {
		return SettingError{err}
	}
	return c.Save()
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
// server of one whose Pods were running. took says that in words.
func undo(c Config, known, left bool) (took string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	switch {
	case !known:
		_, err := Delete(ctx, c.Name) // whose settings are there
		return "what the start had made of the cluster is removed again", err
	case left:
		return "the server is ended again; the Pods that an earlier one left go on", endServer(ctx, Paths{Name: c.Name}, 0)
	}
	return "the cluster is down again, with its data", stop(ctx, c.Name, 0, c.Ephemeral)
}

// sameCluster returns an error if flags differ from those settings of an existing
// cluster that can't be changed.
func sameCluster(old, new Config) error {
	old.Kubeconfig, new.Kubeconfig = "", ""
	old.NodeList, new.NodeList = nil, nil // `minato node` changes it, and the next
	old.PodUsers, new.PodUsers = nil, nil
	old.Created = new.Created
	old.OldAPIs, new.OldAPIs = false, false // objects are stored in today's versions either way
	old.Mounts, new.Mounts = nil, nil       // nodes are made anew by each start
	old.Claim, new.Claim = Claim{}, Claim{}
	old.Kubelet, new.Kubelet = nil, nil
	old.Registries, new.Registries = RegistrySettings{}, RegistrySettings{} // the images that are there stay
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
	earlier, err := log.Seek(0, io.SeekEnd) // what earlier servers have printed
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
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
		return withLog(err, log.Name(), earlier)
	}
	return cmd.Process.Release()
}

// withLog adds to the error of a start what the server printed in it, if that is
// anything; earlier is how long its log was before. Who interrupts a start knows
// why it ended.
func withLog(err error, path string, earlier int64) error {
	if errors.Is(err, ErrInterrupted) {
		return err
	}
	printed := tail(path, earlier, 15)
	if printed == "" {
		return err
	}
	return fmt.Errorf("%w\nwhat the server printed last:\n%s", err, printed)
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

// tailBytes is how much of a log's end is looked at for its last lines.
const tailBytes = 64 << 10

// tail returns the last lines of a file, indented, as far as they come after the
// offset from.
func tail(path string, from int64, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return "  " + err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-tailBytes)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, from, tailBytes))
	if err != nil {
		return "  " + err.Error()
	}
	text := strings.TrimRight(string(data), "\n")
	if text == "" {
		return ""
	}
	all := strings.Split(text, "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// giveKubeconfig writes the administrator's context for the user.
func giveKubeconfig(c Config) (string, error) {
	_, admin, err := readAdmin(c.Name)
	if err != nil {
		return "", err
	}
	if c.Kubeconfig != "" {
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
	file, err := writeKubeconfig(c, admin, c.Kubeconfig)
	if err != nil {
		return file, err
	}
	return file, Paths{Name: c.Name}.rememberKubeconfig(file)
}
