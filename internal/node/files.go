package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"sigs.k8s.io/yaml"

	"minato/internal/host"
)

// kubeletFile is where every kubelet's configuration is looked up.
const kubeletFile = "/var/lib/kubelet/config.yaml"

// writeFiles writes, when the start is over, the files in which people look up how a
// node is set up.
func (a *Agent) writeFiles(ctx context.Context, configuration func() (map[string]any, error)) error {
	if a.cfg.FilesDir == "" {
		return nil
	}
	if a.cfg.PartsAfter != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-a.cfg.PartsAfter:
		}
	}
	if err := a.writeAll(configuration); err != nil {
		a.cfg.Logger.Warn("the files that say how the node is set up can't be written", "error", err)
	}
	return nil
}

func (a *Agent) writeAll(configuration func() (map[string]any, error)) error {
	fields, err := configuration()
	if err != nil {
		return err
	}
	kubelet, err := yaml.Marshal(fields)
	if err != nil {
		return err
	}
	files := map[string]string{kubeletFile: "# What the node's agent does; it is written anew at each start, and a change has no effect.\n" + string(kubelet)}
	maps.Copy(files, a.cfg.InfoFiles)
	root, err := host.OpenInRoot(a.cfg.FilesDir)
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		errs = append(errs, writeFile(root, name, []byte(files[name])))
	}
	return errors.Join(errs...)
}

// writeFile writes a file of the node unless it reads so already. Containers may have
// put something else in its place, so it is made anew in its directory, wherever that
// is in the node's files by now.
func writeFile(root *host.InRoot, name string, data []byte) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	dir, err := root.OpenRoot(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	base := path.Base(name)
	if info, err := dir.Lstat(base); err == nil && info.Mode().IsRegular() && info.Size() == int64(len(data)) {
		if have, err := readAll(dir, base); err == nil && bytes.Equal(have, data) {
			return nil
		}
	}
	if err := dir.Remove(base); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s of the node: %w", name, err)
	}
	f, err := dir.OpenFile(base, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write %s of the node: %w", name, err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func readAll(dir *os.Root, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
