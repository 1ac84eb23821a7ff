package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubefile is a kubeconfig file that other programs change as well.
type kubefile struct{ path string }

// lockedFor is how long another program may have a kubeconfig locked.
const lockedFor = 5 * time.Second

// modify has change alter what is in the file, and replaces the file in one step
// if change says that it did. A file that there is not counts as an empty one.
// Meanwhile the file is locked as kubectl locks it. A link stays a link, and the
// file's mode and owner stay what they are.
func (k kubefile) modify(change func(*clientcmdapi.Config) (changed bool, err error)) error {
	path, err := k.target()
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		// Nothing is made for a change that changes nothing.
		if changed, err := change(clientcmdapi.NewConfig()); err != nil || !changed {
			return err
		}
	}
	owner, err := makeParents(filepath.Dir(path))
	if err != nil {
		return err
	}
	unlock, err := k.lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	config, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		config, err = clientcmdapi.NewConfig(), nil
	}
	if err != nil {
		return fmt.Errorf("read kubeconfig %s: %w; repair it, or name another file", k.path, err)
	}
	if changed, err := change(config); err != nil || !changed {
		return err
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", k.path, err)
	}
	mode := os.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		owner = info.Sys().(*syscall.Stat_t)
	}
	if err := replaceFile(path, data, mode, owner); err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", k.path, err)
	}
	return nil
}

// target is the file itself where the path leads to it by links.
func (k kubefile) target() (string, error) {
	path, err := filepath.EvalSymlinks(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		if link, err := os.Readlink(k.path); err == nil {
			return "", fmt.Errorf("kubeconfig %s is a link to %s, which does not exist", k.path, link)
		}
		return k.path, nil
	}
	if err != nil {
		return "", fmt.Errorf("find kubeconfig %s: %w", k.path, err)
	}
	return path, nil
}

// lock makes the file beside path that kubectl makes while it changes path.
func (k kubefile) lock(path string) (unlock func(), err error) {
	lock := path + ".lock"
	deadline := time.Now().Add(lockedFor)
	for {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { os.Remove(lock) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock kubeconfig %s: %w", k.path, err)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("kubeconfig %s is locked by another program; if none is at work on it, one was killed: remove %s", k.path, lock)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// makeParents makes the directory, and returns who owns it: what root makes in
// somebody's home is to be theirs.
func makeParents(dir string) (owner *syscall.Stat_t, err error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if owner, err = makeParents(filepath.Dir(dir)); err != nil {
			return nil, err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		return owner, give(dir, owner)
	}
	if err != nil {
		return nil, err
	}
	return info.Sys().(*syscall.Stat_t), nil
}

func give(path string, owner *syscall.Stat_t) error {
	if os.Geteuid() != 0 {
		return nil // only root can
	}
	return os.Lchown(path, int(owner.Uid), int(owner.Gid))
}

// replaceFile replaces the file in one step, so that nobody reads half of it.
func replaceFile(path string, data []byte, mode os.FileMode, owner *syscall.Stat_t) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // which only its owner can read
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, give(tmp.Name(), owner), tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
