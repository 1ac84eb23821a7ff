package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// thing is a volume or a snapshot, as it is written beside its content.
type thing struct {
	ID       string
	Name     string
	Size     int64
	Block    bool
	Source   string    // of a snapshot, its volume; of a volume, what it was made from
	Made     time.Time // of a snapshot
	Attached string    // the node
	ReadOnly bool      // how it is attached
	Staged   string    // path
	// Published has the paths at which the volume is.
	Published []string
	// Told is what the last NodePublishVolume said of the Pod.
	Told map[string]string
}

// store has the things of the driver, one directory for each: meta.json, and content
// or, for a block volume, image.
type store struct {
	dir      string
	capacity int64
	mu       sync.Mutex
}

func openStore(dir string, capacity int64) (*store, error) {
	for _, kind := range []string{"volumes", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(dir, kind), 0o755); err != nil {
			return nil, err
		}
	}
	return &store{dir: dir, capacity: capacity}, nil
}

// told tells whether a file of that name is beside the volumes.
func (s *store) told(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

func idOf(name string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(name)))[:16] }

func (s *store) path(kind, id string, rest ...string) string {
	return filepath.Join(append([]string{s.dir, kind, filepath.Base(id)}, rest...)...)
}

// read returns a thing, or an error with the code NotFound.
func (s *store) read(kind, id string) (*thing, error) {
	if id == "" {
		return nil, status.Error(codes.InvalidArgument, "the ID is empty")
	}
	data, err := os.ReadFile(s.path(kind, id, "meta.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, status.Errorf(codes.NotFound, "there is no %s in %s", id, kind)
	}
	if err != nil {
		return nil, err
	}
	t := &thing{}
	return t, json.Unmarshal(data, t)
}

func (s *store) write(kind string, t *thing) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.path(kind, t.ID), 0o755); err != nil {
		return err
	}
	next := s.path(kind, t.ID, ".meta.json")
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	return os.Rename(next, s.path(kind, t.ID, "meta.json"))
}

// list returns all things of a kind, by their IDs.
func (s *store) list(kind string) ([]*thing, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, kind))
	if err != nil {
		return nil, err
	}
	var out []*thing
	for _, e := range entries {
		if t, err := s.read(kind, e.Name()); err == nil {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *thing) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// free is how many bytes volumes may have besides those that there are.
func (s *store) free() (int64, error) {
	all, err := s.list("volumes")
	left := s.capacity
	for _, t := range all {
		left -= t.Size
	}
	return max(left, 0), err
}

// fill makes the content of a thing, a copy of what is at from or empty.
func (s *store) fill(kind string, t *thing, from string) error {
	place := s.content(kind, t)
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	if from != "" {
		if err := os.RemoveAll(place); err != nil {
			return err
		}
		out, err := exec.Command("cp", "-a", from, place).CombinedOutput()
		if err != nil {
			return fmt.Errorf("copy %s: %w: %s", from, err, out)
		}
	} else if !t.Block {
		if err := os.MkdirAll(place, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(place, 0o777); err != nil {
			return err
		}
	}
	if t.Block {
		f, err := os.OpenFile(place, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Truncate(t.Size)
	}
	return nil
}

func (s *store) content(kind string, t *thing) string {
	if t.Block {
		return s.path(kind, t.ID, "image")
	}
	return s.path(kind, t.ID, "content")
}

func (s *store) remove(kind, id string) error { return os.RemoveAll(s.path(kind, id)) }
