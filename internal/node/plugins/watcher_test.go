package plugins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"minato/internal/host"
)

// plugin is a plugin that registers.
type plugin struct {
	registerapi.UnimplementedRegistrationServer
	info *registerapi.PluginInfo
	told chan *registerapi.RegistrationStatus
}

func (p *plugin) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return p.info, nil
}

func (p *plugin) NotifyRegistrationStatus(_ context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	p.told <- s
	return &registerapi.RegistrationStatusResponse{}, nil
}

func (p *plugin) serve(t *testing.T, socket string) (stop func()) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	registerapi.RegisterRegistrationServer(s, p)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return s.Stop
}

// handler notes what it is told, and fails for as long as it is told to.
type handler struct {
	mu    sync.Mutex
	calls []string
	fails int
	// numbers are those of the registrations that were taken.
	numbers []uint64
	made    chan string
}

func (h *handler) Register(_ context.Context, p Plugin) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fails > 0 {
		h.fails--
		return errors.New("not now")
	}
	h.numbers = append(h.numbers, p.Registration)
	h.made <- "register " + p.Name + " " + p.Endpoint
	return nil
}

func (h *handler) Deregister(p Plugin) { h.made <- "deregister " + p.Name }

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing has happened within 20 seconds")
	}
	panic("not reached")
}

// A plugin is registered when its socket appears, told so, asked again when it was
// refused, and forgotten when the socket is gone; all below the node's root directory.
func TestPlugin(t *testing.T) {
	dir := t.TempDir()
	root, err := host.OpenInRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	h := &handler{made: make(chan string, 10), fails: 1}
	w, err := New(Config{Root: root, Handlers: map[string]Handler{registerapi.CSIPlugin: h}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	sockets := filepath.Join(dir, Dir)
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, err := os.Stat(sockets); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the directory of plugins is not made")
		}
		time.Sleep(time.Millisecond)
	}
	p := &plugin{info: &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: "d", Endpoint: "/csi.sock", SupportedVersions: []string{"1.0.0"}}, told: make(chan *registerapi.RegistrationStatus, 10)}
	stop := p.serve(t, filepath.Join(sockets, "d.sock"))
	if s := next(t, p.told); s.PluginRegistered || s.Error != "not now" {
		t.Errorf("a plugin that was refused was told %v", s)
	}
	if s := next(t, p.told); !s.PluginRegistered {
		t.Errorf("a plugin that was taken was told %v", s)
	}
	if got := next(t, h.made); got != "register d /csi.sock" {
		t.Error(got)
	}
	// One whose type nobody takes, and things that are no sockets.
	q := &plugin{info: &registerapi.PluginInfo{Type: "Other", Name: "q"}, told: make(chan *registerapi.RegistrationStatus, 10)}
	q.serve(t, filepath.Join(sockets, "q.sock"))
	if s := next(t, q.told); s.PluginRegistered || s.Error != `this node takes no plugins of the type "Other", only CSIPlugin` {
		t.Errorf("a plugin of another type was told %v", s)
	}
	if err := os.Symlink("/nowhere", filepath.Join(sockets, "link.sock")); err != nil {
		t.Fatal(err)
	}
	stop()
	if got := next(t, h.made); got != "deregister d" {
		t.Error(got)
	}
	// Its next process has the same socket, and is another registration.
	p.serve(t, filepath.Join(sockets, "d.sock"))
	next(t, h.made)
	h.mu.Lock()
	if n := h.numbers; len(n) != 2 || n[0] == n[1] {
		t.Errorf("the registrations have the numbers %v", n)
	}
	h.mu.Unlock()
	cancel()
	if err := next(t, ended); err != nil {
		t.Error(err)
	}
}

// recorder notes with which flags files are opened.
type recorder struct {
	Root
	flags map[string]int
}

func (r *recorder) OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	r.flags[path] = flag
	return r.Root.OpenFile(path, flag, mode)
}

// What is no directory by the time that it is opened is not opened.
func TestDirectories(t *testing.T) {
	root, err := host.OpenInRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.MkdirAll(Dir+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	opened := &recorder{Root: root, flags: map[string]int{}}
	w, err := New(Config{Root: opened})
	if err != nil {
		t.Fatal(err)
	}
	notify := &notifier{}
	defer notify.close()
	if err := w.look(t.Context(), &sync.WaitGroup{}, notify); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{Dir, Dir + "/below"} {
		if flag, ok := opened.flags[path]; !ok || flag&syscall.O_DIRECTORY == 0 {
			t.Errorf("%s is opened with the flags %#x, whatever it is", path, flag)
		}
	}
}

// Of more sockets than are served, those that were there stay, and others come by name.
func TestManySockets(t *testing.T) {
	dir := t.TempDir()
	root, err := host.OpenInRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.MkdirAll(Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i := range maxSockets + 10 {
		name := fmt.Sprintf("%s/%03d", Dir, i)
		l, err := root.ListenUnix(name, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		all = append(all, name)
	}
	last := all[len(all)-1]
	w.serving[last] = &registration{}
	var sockets []string
	f, err := root.OpenFile(Dir, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := w.list(Dir, f, 0, &sockets); err != nil {
		t.Fatal(err)
	}
	found, left := w.choose(sockets)
	if len(found) != maxSockets || left != 10 || found[last] == nil || found[all[0]] == nil || found[all[maxSockets]] != nil {
		t.Errorf("%d sockets are found, %d are left", len(found), left)
	}
}
