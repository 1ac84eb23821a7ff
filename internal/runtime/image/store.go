package image

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// ErrNotFound says that the store has no such image.
var ErrNotFound = errors.New("no such image in the store")

// ErrInUse says that a container still uses the image.
var ErrInUse = errors.New("image is in use")

// Store holds images and their unpacked layers in one directory:
//
//	index.json       what there is, replaced atomically
//	lock             held while the index is changed
//	layers/NAME      one layer; NAME.json beside it says what it is, and NAME.tape has
//	                 what is in its archive beside the contents of files
//	configs/HEX      the configuration of an image, as it came
//	pins/OWNER/ID    an image that OWNER uses
//	tmp/             layers being unpacked, under a shared lock on tmp.lock
type Store struct {
	dir string
	// adding has one image unpacked once, however many nodes want it at a time.
	adding turns

	mu     sync.Mutex
	cached *index
	stamp  indexStamp
}

// Image is one image of the store. It must not be changed.
type Image struct {
	// ID is the digest of the image's configuration, "sha256:…".
	ID string
	// Names are the references that lead here, such as
	// "docker.io/library/nginx:latest".
	Names []string
	// Loaded are those of Names that came by [Store.Load]: what a person put
	// there, no pull replaces.
	Loaded []string `json:",omitempty"`
	// Access says, by repository ("docker.io/library/nginx"), who may use what
	// was pulled from there.
	Access map[string]Access `json:",omitempty"`
	// Digests are names with the digest of a manifest or of an index that leads to
	// it, "NAME@sha256:…". The first is what the last pull asked for by name.
	Digests []string
	// Config is what the image says about itself.
	Config *v1.ConfigFile
	// Size is the disk space of all layers, those shared with other images too.
	Size int64
	// AddedAt is when the image came into the store.
	AddedAt time.Time
	// Layers are names of layer directories, bottom first.
	Layers []string
}

// index is the content of index.json. One that was read or written is never
// changed; writers change a copy.
type index struct {
	Images map[string]*Image `json:"images"`
	Layers map[string]Layer  `json:"layers"`
}

// Layer is what the store knows about one unpacked layer.
type Layer struct {
	DiffID string `json:"diffID"`
	Size   int64  `json:"size"`
	Inodes int64  `json:"inodes"`
	// TarSize is the size of the archive, in bytes, where it can be made again from
	// the layer's tape; else 0.
	TarSize int64 `json:"tarSize,omitempty"`
	// Implicit is true where the archive leaves out parent directories, so
	// that their owner and mode come from the layers below. Such a layer can
	// be shared only between images that agree about everything below it.
	Implicit bool `json:"implicit,omitempty"`
}

// indexStamp tells one version of index.json from another.
type indexStamp struct {
	inode uint64
	size  int64
	mtime time.Time
}

// Open opens the store in dir, makes it if there is none, and removes what an
// interrupted load has left.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	for _, sub := range []string{"layers", "configs", "pins", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	for _, name := range emptyLayers {
		// These become the root directory of images without layers, so
		// everybody may read them.
		if err := os.MkdirAll(s.layerDir(name), 0o755); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("open image store %s: %w", dir, err)
	}
	return s, nil
}

// Dir is the store's directory.
func (s *Store) Dir() string { return s.dir }

func (s *Store) layersDir() string           { return filepath.Join(s.dir, "layers") }
func (s *Store) tapePath(name string) string { return s.layerDir(name) + ".tape" }
func (s *Store) configPath(id string) string {
	return filepath.Join(s.dir, "configs", strings.TrimPrefix(id, "sha256:"))
}
func (s *Store) layerDir(name string) string { return filepath.Join(s.dir, "layers", name) }

// Get finds an image by ID (with or without "sha256:"), by name as people
// write it ("nginx", "centos:6"), or by name and digest.
func (s *Store) Get(ref string) (*Image, error) {
	idx, err := s.read()
	if err != nil {
		return nil, err
	}
	img := idx.find(ref)
	if img == nil {
		return nil, fmt.Errorf("image %q: %w", ref, ErrNotFound)
	}
	return img, nil
}

// List returns every image, the oldest first.
func (s *Store) List() ([]*Image, error) {
	idx, err := s.read()
	if err != nil {
		return nil, err
	}
	images := make([]*Image, 0, len(idx.Images))
	for _, img := range idx.Images {
		images = append(images, img)
	}
	slices.SortFunc(images, func(a, b *Image) int {
		if c := a.AddedAt.Compare(b.AddedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return images, nil
}

// Tag gives the image that ref finds one more name. A name that another image
// had moves over.
func (s *Store) Tag(ref, newName string) error {
	name, err := Normalize(newName)
	if err != nil {
		return err
	}
	return s.update(func(idx *index) error {
		img := idx.find(ref)
		if img == nil {
			return fmt.Errorf("image %q: %w", ref, ErrNotFound)
		}
		idx.put(img, []string{name}, nil, false)
		return nil
	})
}

// Usage returns the disk space and the number of files of all layers.
func (s *Store) Usage() (bytes, inodes int64, err error) {
	idx, err := s.read()
	if err != nil {
		return 0, 0, err
	}
	for _, l := range idx.Layers {
		bytes += l.Size
		inodes += l.Inodes
	}
	return bytes, inodes, nil
}

// read returns the current index, from memory where the file has not changed.
func (s *Store) read() (*index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, "index.json")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &index{Images: map[string]*Image{}, Layers: map[string]Layer{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	defer f.Close()
	stamp, err := stampOf(f)
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	if s.cached != nil && s.stamp == stamp {
		return s.cached, nil
	}
	idx := &index{}
	if err := json.NewDecoder(f).Decode(idx); err != nil {
		return nil, fmt.Errorf("read image index %s: %w", path, err)
	}
	s.cached, s.stamp = idx, stamp
	return idx, nil
}

func stampOf(f *os.File) (indexStamp, error) {
	info, err := f.Stat()
	if err != nil {
		return indexStamp{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return indexStamp{}, err
	}
	return indexStamp{inode: st.Ino, size: info.Size(), mtime: info.ModTime()}, nil
}

// update changes the index under the store's lock. change gets a copy, which
// is written where it returns nil.
func (s *Store) update(change func(*index) error) error {
	return s.locked(func(old *index) error {
		idx := old.clone()
		if err := change(idx); err != nil {
			return err
		}
		data, err := json.Marshal(idx)
		if err != nil {
			return fmt.Errorf("write image index: %w", err)
		}
		if err := writeFileAtomic(filepath.Join(s.dir, "index.json"), data); err != nil {
			return fmt.Errorf("write image index: %w", err)
		}
		return nil
	})
}

// locked runs fn while no other process or goroutine changes the store.
func (s *Store) locked(fn func(*index) error) error {
	unlock, err := lockFile(filepath.Join(s.dir, "lock"), unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("lock image store: %w", err)
	}
	defer unlock()
	idx, err := s.read()
	if err != nil {
		return err
	}
	return fn(idx)
}

// sweep removes half-unpacked layers and layers that no image refers to. It does
// nothing during a load or a pull, since the layers of an image that is not in
// the index yet look just like these; every load and pull sweeps at its end.
func (s *Store) sweep() error {
	trash := filepath.Join(s.dir, "tmp", "trash-"+randomName())
	err := s.locked(func(idx *index) error {
		unlock, err := lockFile(filepath.Join(s.dir, "tmp.lock"), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		if err != nil {
			return err
		}
		defer unlock()
		return s.moveStale(idx, trash)
	})
	if err != nil {
		return err
	}
	// Deleting takes longer than renaming, and needs no lock.
	return os.RemoveAll(trash)
}

func (s *Store) moveStale(idx *index, trash string) error {
	var stale []string
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// Whoever writes an index holds the lock that is held here.
		if strings.HasPrefix(e.Name(), ".index.json-") {
			stale = append(stale, filepath.Join(s.dir, e.Name()))
		}
	}
	if entries, err = os.ReadDir(filepath.Join(s.dir, "tmp")); err != nil {
		return err
	}
	for _, e := range entries {
		stale = append(stale, filepath.Join(s.dir, "tmp", e.Name()))
	}
	if entries, err = os.ReadDir(s.layersDir()); err != nil {
		return err
	}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".")
		if _, used := idx.Layers[name]; !used && !slices.Contains(emptyLayers[:], name) {
			stale = append(stale, s.layerDir(e.Name()))
		}
	}
	if entries, err = os.ReadDir(filepath.Join(s.dir, "configs")); err != nil {
		return err
	}
	for _, e := range entries {
		if _, used := idx.Images["sha256:"+e.Name()]; !used {
			stale = append(stale, filepath.Join(s.dir, "configs", e.Name()))
		}
	}
	if len(stale) == 0 {
		return nil
	}
	if err := os.Mkdir(trash, 0o700); err != nil {
		return err
	}
	for _, path := range stale {
		err := os.Rename(path, filepath.Join(trash, filepath.Base(path)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // another process removes its own trash
			return err
		}
	}
	return nil
}

// lockFile takes a lock that ends with the process, if not before.
func lockFile(path string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// writeFileAtomic replaces path so that a reader sees the old or the new
// content, also after a power failure.
func writeFileAtomic(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
