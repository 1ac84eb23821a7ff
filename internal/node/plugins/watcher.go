package plugins

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"minato/internal/host"
	"minato/internal/node/nodesocket"
)

// Dir is where plugins put their sockets, on the node.
const Dir = "/var/lib/kubelet/plugins_registry"

const (
	// checkPeriod is how often the directory is read without being told of a change.
	checkPeriod = 10 * time.Second
	// maxDepth bounds how deep below Dir sockets are looked for, and maxSockets how
	// many of them are served: any Pod with a hostPath may put some there.
	maxDepth, maxSockets = 3, 256
)

// Root is the node's root directory.
type Root interface {
	Stat(path string) (fs.FileInfo, error)
	MkdirAll(path string, mode fs.FileMode) error
	OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error)
	DialUnix(ctx context.Context, path string) (net.Conn, error)
}

// Plugin is a plugin as it has introduced itself.
type Plugin struct {
	// Name is its own, such as that of a CSI driver.
	Name string
	// Endpoint is the path, on the node, of the socket at which it serves.
	Endpoint string
	// Versions are those of the plugin's API that it knows.
	Versions []string
	// Socket is the path of the socket that it registers with: no two plugins have
	// the same one.
	Socket string
	// Registration is another number each time that a socket appears: a plugin that
	// has started again may have the same path.
	Registration uint64
}

// Handler takes plugins of one type.
type Handler interface {
	// Register takes a plugin; an error is told to the plugin, which is asked again
	// after a pause.
	Register(ctx context.Context, p Plugin) error
	// Deregister is called when the socket of a plugin that was taken is gone.
	Deregister(p Plugin)
}

// Config is what a Watcher needs.
type Config struct {
	Root Root
	// Handlers are the types that the node knows, such as CSIPlugin.
	Handlers map[string]Handler
	Logger   *slog.Logger
}

// Watcher follows the directory of sockets.
type Watcher struct {
	cfg Config

	mu sync.Mutex
	// serving has the sockets that are there, by their paths.
	serving map[string]*registration
	// left is how many sockets the last look left alone; it belongs to Run.
	left int
	// count is that of the sockets that have appeared so far.
	count uint64
}

// New returns a watcher; it touches nothing.
func New(cfg Config) (*Watcher, error) {
	if cfg.Root == nil {
		return nil, errors.New("plugins: Config.Root is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{cfg: cfg, serving: map[string]*registration{}}, nil
}

// Run follows the directory until ctx ends. Plugins that were taken stay so.
func (w *Watcher) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	notify := &notifier{}
	defer notify.close()
	tick := time.NewTicker(checkPeriod)
	defer tick.Stop()
	tries := &nodesocket.Tries{Tell: func(err error) {
		w.cfg.Logger.Warn("the node's directory of plugins can't be read; will try again", "path", Dir, "error", err)
	}}
	for {
		if err := w.look(ctx, &group, notify); err != nil {
			tries.Failed(err)
		} else {
			tries.Worked()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-notify.events():
		case <-notify.errors(): // such as that more has happened than could be told
		}
	}
}

// look compares the sockets that are there with those that are served.
func (w *Watcher) look(ctx context.Context, group *sync.WaitGroup, notify *notifier) error {
	dir, err := w.open(notify)
	if err != nil {
		return err
	}
	defer dir.Close()
	var sockets []string
	if err := w.list(Dir, dir, 0, &sockets); err != nil {
		return err
	}
	found, left := w.choose(sockets)
	w.tellOf(left)
	w.mu.Lock()
	defer w.mu.Unlock()
	for socket, r := range w.serving {
		if now, ok := found[socket]; !ok || !same(r.info, now) {
			delete(w.serving, socket)
			r.cancel()
		}
	}
	for socket, info := range found {
		if w.serving[socket] != nil {
			continue
		}
		life, cancel := context.WithCancel(ctx)
		w.count++
		r := &registration{watcher: w, socket: socket, number: w.count, info: info, cancel: cancel}
		w.serving[socket] = r
		group.Go(func() { r.run(ctx, life) })
	}
	return nil
}

// same tells whether two looks found the same socket: one that was made anew has
// another inode, or the same one with another time.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

// directory opens nothing else, which somebody may have put in its place meanwhile: a
// device may do something when it is opened, such as start a watchdog.
const directory = os.O_RDONLY | syscall.O_DIRECTORY

// open opens the directory, which is made if it is missing, and has it watched.
func (w *Watcher) open(notify *notifier) (*os.File, error) {
	if err := w.cfg.Root.MkdirAll(Dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := w.cfg.Root.OpenFile(Dir, directory, 0)
	if err != nil {
		return nil, err
	}
	notify.follow(dir)
	return dir, nil
}

// list appends the paths of the sockets in dir. Names that begin with a dot are not meant
// for us, as the kubelet has it.
func (w *Watcher) list(at string, dir *os.File, depth int, sockets *[]string) error {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		full := path.Join(at, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir() && depth < maxDepth:
			below, err := w.cfg.Root.OpenFile(full, directory, 0)
			if err != nil {
				continue // it has gone meanwhile
			}
			err = w.list(full, below, depth+1, sockets)
			below.Close()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case e.Type() == fs.ModeSocket:
			*sockets = append(*sockets, full)
		}
	}
	return nil
}

// choose finds the sockets that there is room for: those that are served already,
// whatever else has appeared, and then others by name. left is how many are not found.
func (w *Watcher) choose(sockets []string) (found map[string]os.FileInfo, left int) {
	w.mu.Lock()
	slices.SortFunc(sockets, func(a, b string) int {
		if served := w.serving[a] != nil; served != (w.serving[b] != nil) {
			if served {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	w.mu.Unlock()
	found = map[string]os.FileInfo{}
	for i, socket := range sockets {
		if len(found) == maxSockets {
			return found, len(sockets) - i
		}
		if info, err := w.cfg.Root.Stat(socket); err == nil && info.Mode().Type() == fs.ModeSocket {
			found[socket] = info
		}
	}
	return found, 0
}

// tellOf logs, when it has changed, how many sockets are left alone.
func (w *Watcher) tellOf(left int) {
	if left > 0 && left != w.left {
		w.cfg.Logger.Warn("the node's directory of plugins has more sockets than are served; the others are left alone", "path", Dir, "served", maxSockets, "left", left)
	}
	w.left = left
}

// notifier tells of changes of the directory, as it is at present.
type notifier struct {
	watcher *fsnotify.Watcher
	dir     os.FileInfo
}

// follow watches dir if it is another one than before. Without a watch the directory
// is read now and then.
func (n *notifier) follow(dir *os.File) {
	info, err := dir.Stat()
	if err != nil || n.dir != nil && os.SameFile(info, n.dir) {
		return
	}
	n.close()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return
	}
	if watcher.Add(host.FilePath(dir)) != nil { // the kernel watches the directory, not its name
		watcher.Close()
		return
	}
	n.watcher, n.dir = watcher, info
}

func (n *notifier) events() <-chan fsnotify.Event {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Events
}

// errors have to be read: until then no event comes.
func (n *notifier) errors() <-chan error {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Errors
}

func (n *notifier) close() {
	if n.watcher != nil {
		n.watcher.Close()
	}
	n.watcher, n.dir = nil, nil
}
