package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
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

// longestKubefile bounds what is read of a file that anybody may have put there.
const longestKubefile = 16 << 20

// modify has change alter what is in the file, and replaces the file in one step
// if change says that it did. A file that there is not counts as an empty one, and
// nothing is locked or made for a change that changes nothing: so change is called
// twice otherwise. While the file is changed, it is locked as kubectl locks it. A
// link stays a link, and the file's mode and owner stay what they are.
//
// The file's directory may be one that somebody else than root writes to. It is
// opened, and nothing is looked up by its path from the lock to the new file.
func (k kubefile) modify(change func(*clientcmdapi.Config) (changed bool, err error)) error {
	path, err := k.target()
	if err != nil {
		return err
	}
	parent, base := filepath.Split(path)
	if changed, err := k.would(parent, base, change); err != nil || !changed {
		return err
	}
	if _, err := makeParents(filepath.Clean(parent)); err != nil {
		return err
	}
	dir, err := openDir(parent)
	if err != nil {
		return fmt.Errorf("find kubeconfig %s: %w", k.path, err)
	}
	defer dir.Close()
	unlock, err := k.lock(dir, base)
	if err != nil {
		return err
	}
	defer unlock()
	config, info, err := k.read(dir, base)
	if err != nil {
		return err
	}
	if changed, err := change(config); err != nil || !changed {
		return err
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", k.path, err)
	}
	if err := replaceFile(dir, base, data, info); err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", k.path, err)
	}
	return nil
}

// would tells whether the change changes anything.
func (k kubefile) would(parent, base string, change func(*clientcmdapi.Config) (bool, error)) (bool, error) {
	dir, err := openDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return change(clientcmdapi.NewConfig())
	}
	if err != nil {
		return false, fmt.Errorf("find kubeconfig %s: %w", k.path, err)
	}
	defer dir.Close()
	config, _, err := k.read(dir, base)
	if err != nil {
		return false, err
	}
	return change(config)
}

// openDir opens the directory of a path; an empty one is the working directory.
func openDir(parent string) (*os.Root, error) { return os.OpenRoot(filepath.Clean(parent)) }

// read returns what is in the file, and what it is, nil if there is none.
func (k kubefile) read(dir *os.Root, base string) (*clientcmdapi.Config, fs.FileInfo, error) {
	// Without O_NONBLOCK, a named pipe would keep whoever opens it.
	f, err := dir.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return clientcmdapi.NewConfig(), nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read kubeconfig %s: %w", k.path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read kubeconfig %s: %w", k.path, err)
	}
	if !info.Mode().IsRegular() || info.Size() > longestKubefile {
		return nil, nil, fmt.Errorf("kubeconfig %s is not a file of at most %d MiB; name another one", k.path, longestKubefile>>20)
	}
	data, err := io.ReadAll(io.LimitReader(f, longestKubefile))
	if err != nil {
		return nil, nil, fmt.Errorf("read kubeconfig %s: %w", k.path, err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, nil, fmt.Errorf("read kubeconfig %s: %w; repair it, or name another file", k.path, err)
	}
	empty := clientcmdapi.NewConfig()
	if config.Clusters == nil {
		config.Clusters = empty.Clusters
	}
	if config.AuthInfos == nil {
		config.AuthInfos = empty.AuthInfos
	}
	if config.Contexts == nil {
		config.Contexts = empty.Contexts
	}
	return config, info, nil
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

// lock makes the file beside base that kubectl makes while it changes base.
func (k kubefile) lock(dir *os.Root, base string) (unlock func(), err error) {
	lock := base + ".lock"
	deadline := time.Now().Add(lockedFor)
	for {
		f, err := dir.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { _ = dir.Remove(lock) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock kubeconfig %s: %w", k.path, err)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("kubeconfig %s is locked by another program; if none is at work on it, one was killed: remove %s", k.path, filepath.Join(dir.Name(), lock))
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
		if err = os.Mkdir(dir, 0o755); err == nil {
			return owner, give(dir, owner)
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		info, err = os.Stat(dir) // somebody else has made it
	}
	if err != nil {
		return nil, err
	}
	return info.Sys().(*syscall.Stat_t), nil
}

// give gives a directory away that was made a moment ago, but nothing that somebody has
// put in its place since.
func give(dir string, owner *syscall.Stat_t) error {
	if os.Geteuid() != 0 {
		return nil // only root can
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// replaceFile replaces the file in one step, so that nobody reads half of it. have is
// the file there is, whose mode and owner the new one gets; nil is none, and then it is
// the directory's owner's alone. The new file is given away by its
// descriptor: its name may be another file's by then.
func replaceFile(dir *os.Root, base string, data []byte, have fs.FileInfo) error {
	mode := os.FileMode(0o600)
	if have != nil {
		mode = have.Mode().Perm()
	} else {
		var err error
		if have, err = dir.Stat("."); err != nil {
			return err
		}
	}
	owner := have.Sys().(*syscall.Stat_t)
	name := "." + base + "-" + rand.Text()
	tmp, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Remove(name) }() // gone after the rename
	_, err = tmp.Write(data)
	if os.Geteuid() == 0 { // only root can
		err = errors.Join(err, tmp.Chown(int(owner.Uid), int(owner.Gid)))
	}
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return dir.Rename(name, base)
}
