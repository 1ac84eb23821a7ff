package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Progress tells how far a load or a pull is.
type Progress struct {
	// Image is the name of the image, or its ID.
	Image string
	// Done and Total count bytes as they are in the file or come from the
	// registry. Layers that the store has already count as done.
	Done, Total int64
}

// candidate is an image that was found but is not in the store yet.
type candidate struct {
	id      string
	names   []string
	digests []string
	config  *v1.ConfigFile
	raw     []byte // the configuration as it came
	layers  []blob // bottom first
	loaded  bool   // from a file, by hand
	access  map[string]Access
}

func (c *candidate) label() string {
	if len(c.names) > 0 {
		return c.names[0]
	}
	return c.id
}

// turn is the key of the turn that adding the image takes. Another repository
// may say that it has the same image and send it as slowly as it likes, so it has
// a turn of its own.
func (c *candidate) turn() string {
	from := ""
	switch {
	case len(c.names) > 0:
		from = repository(c.names[0])
	case len(c.digests) > 0:
		from = repository(c.digests[0])
	}
	return c.id + " " + from
}

// add unpacks the layers that are missing and puts the image into the index.
// No layer is swept until it is done.
func (s *Store) add(ctx context.Context, c *candidate, progress func(Progress)) error {
	release, err := s.adding.take(ctx, c.turn())
	if err != nil {
		return fmt.Errorf("image %s: %w", c.label(), err)
	}
	defer release()
	unlock, err := lockFile(filepath.Join(s.dir, "tmp.lock"), unix.LOCK_SH)
	if err != nil {
		return fmt.Errorf("lock image store: %w", err)
	}
	err = s.addLocked(ctx, c, progress)
	unlock()
	if err = errors.Join(err, s.sweep()); err != nil {
		return fmt.Errorf("image %s: %w", c.label(), err)
	}
	return nil
}

func (s *Store) addLocked(ctx context.Context, c *candidate, progress func(Progress)) error {
	staged, err := s.stage(ctx, c, progress)
	defer func() {
		for _, st := range staged {
			if st.dir != "" {
				os.RemoveAll(st.dir)
				os.Remove(st.dir + ".tape")
			}
		}
	}()
	if err != nil {
		return err
	}
	names, err := s.publish(ctx, c, staged)
	if err != nil {
		return err
	}
	return s.update(func(idx *index) error {
		if err := s.keepConfig(c); err != nil {
			return err
		}
		img := &Image{ID: c.id, Config: c.config, AddedAt: time.Now(), Layers: names, Access: c.access}
		for _, name := range names {
			l, ok := s.layerReady(name)
			if !ok {
				return fmt.Errorf("layer %s has vanished from the store", name)
			}
			idx.Layers[name] = l
			img.Size += l.Size
		}
		idx.put(img, c.names, c.digests, c.loaded)
		return nil
	})
}

// keepConfig keeps the configuration as it came: the index has less of it.
func (s *Store) keepConfig(c *candidate) error {
	path := s.configPath(c.id)
	if have, err := os.ReadFile(path); err == nil && digestOfBytes(have) == c.id {
		return nil
	}
	return writeFileAtomic(path, c.raw)
}

// staged is one layer on its way into the store.
type staged struct {
	name string // where the store has it already
	dir  string // else where it was unpacked
	res  unpacked
}

// minParallel is how many layers come at the same time at least: registries answer
// one after the other more slowly than a machine unpacks.
const minParallel = 4

// stage unpacks the layers that are missing, several at a time.
func (s *Store) stage(ctx context.Context, c *candidate, progress func(Progress)) ([]staged, error) {
	p := newMeter(c, progress)
	out := make([]staged, len(c.layers))
	room := newSpace(s.dir)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(minParallel, runtime.NumCPU()))
	chain := ""
	for i, b := range c.layers {
		chain = chainID(chain, b.diffID)
		name, err := s.findLayer(b.diffID, chain)
		if err != nil {
			return nil, err
		}
		if name != "" {
			out[i].name = name
			p.add(int(b.size))
			continue
		}
		g.Go(func() (err error) {
			// A panic here would end the process, and with it every node.
			defer recoverAs(&err)
			out[i].dir, out[i].res, err = s.unpackBlob(ctx, b, nil, room, p.add)
			return err
		})
	}
	return out, g.Wait()
}

// findLayer returns the name of a layer that is in the store already, or "".
// The chain ID of an image's bottom layer is its diff ID.
func (s *Store) findLayer(diffID, chain string) (string, error) {
	name, err := layerName(diffID)
	if err != nil {
		return "", err
	}
	if l, ok := s.layerReady(name); ok && (!l.Implicit || chain == diffID) {
		return name, nil
	}
	if name, err = layerName(chain); err != nil {
		return "", err
	}
	if _, ok := s.layerReady(name); ok {
		return name, nil
	}
	return "", nil
}

// publish moves unpacked layers to their final directories, from the bottom up,
// and returns the names of all the image's layers.
func (s *Store) publish(ctx context.Context, c *candidate, layers []staged) ([]string, error) {
	known, err := s.read()
	if err != nil {
		return nil, err
	}
	var names []string
	chain, fresh := "", false
	for i := range layers {
		st := &layers[i]
		chain = chainID(chain, c.layers[i].diffID)
		if st.name == "" {
			if err := s.publishLayer(ctx, st, c.layers[i], chain, names); err != nil {
				return nil, fmt.Errorf("layer %s: %w", c.layers[i].diffID, err)
			}
		}
		names = append(names, st.name)
		// One that another image has just brought may not be on the disk yet, either.
		_, indexed := known.Layers[st.name]
		fresh = fresh || !indexed
	}
	if fresh {
		// The index must not name files that a power failure could empty.
		if err := syncFilesystem(s.dir); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (s *Store) publishLayer(ctx context.Context, st *staged, b blob, chain string, lower []string) error {
	key, implicit := b.diffID, len(st.res.implicit) > 0
	if implicit {
		key = chain
		if err := s.fitLayer(ctx, st, b, lower); err != nil {
			return err
		}
	}
	name, err := layerName(key)
	if err != nil {
		return err
	}
	data, err := json.Marshal(Layer{DiffID: b.diffID, Size: st.res.size, Inodes: st.res.inodes, Implicit: implicit, TarSize: st.res.tarSize})
	if err != nil {
		return err
	}
	return s.locked(func(*index) error {
		if _, there := s.layerReady(name); !there {
			if err := os.WriteFile(s.layerDir(name)+".json", data, 0o600); err != nil {
				return err
			}
			if st.res.tarSize > 0 {
				if err := os.Rename(st.dir+".tape", s.tapePath(name)); err != nil {
					return err
				}
			}
			err := os.Rename(st.dir, s.layerDir(name))
			if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
				return err
			}
			if err == nil {
				st.dir = ""
			}
		}
		st.name = name
		return nil
	})
}

// maxMoved bounds how often a layer is unpacked anew because of a symbolic link
// in the layers below it.
const maxMoved = 32

// fitLayer fits directories that the layer leaves out to the layers below. If
// one is a link there, the layer is unpacked anew, to where the link leads.
func (s *Store) fitLayer(ctx context.Context, st *staged, b blob, lower []string) error {
	m := moved{}
	for {
		err := s.inheritAttributes(st.dir, st.res.implicit, lower)
		var link lowerLink
		if !errors.As(err, &link) || len(m) == maxMoved {
			return err
		}
		if _, again := m[link.dir]; again {
			return err // the link leads to itself
		}
		m[link.dir] = link.target
		if err := errors.Join(os.RemoveAll(st.dir), os.RemoveAll(st.dir+".tape")); err != nil {
			return err
		}
		if st.dir, st.res, err = s.unpackBlob(ctx, b, m, newSpace(s.dir), func(int) {}); err != nil {
			return err
		}
	}
}

func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("write %s to disk: %w", dir, err)
	}
	return nil
}

// meter adds up progress of layers that are unpacked side by side.
type meter struct {
	mu     sync.Mutex
	state  Progress
	report func(Progress)
}

func newMeter(c *candidate, report func(Progress)) *meter {
	m := &meter{report: report, state: Progress{Image: c.label()}}
	for _, b := range c.layers {
		m.state.Total += b.size
	}
	return m
}

func (m *meter) add(n int) {
	if m.report == nil || n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Done += int64(n)
	m.report(m.state)
}
