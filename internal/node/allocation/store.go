package allocation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/node/spec"
)

// Record is what is kept of one Pod. It is never changed in place.
type Record struct {
	// Granted is what the node counts as the Pod's.
	Granted spec.Allocation `json:"granted"`
	// Containers are the runs, by ID, that have been given something else than
	// they were created with.
	Containers map[string]v1.ResourceRequirements `json:"containers,omitempty"`
	// Sandboxes are the limits of the Pod's cgroup, by the ID of a sandbox, where
	// they have been changed since it was made.
	Sandboxes map[string]spec.PodLimits `json:"sandboxes,omitempty"`
	// Users is the first of the node's users that are the Pod's, 0 if it has the
	// node's own.
	Users uint32 `json:"users,omitempty"`
}

// WithContainer is the record after a run was given r.
func (r Record) WithContainer(id string, has v1.ResourceRequirements) Record {
	r.Containers = maps.Clone(r.Containers)
	if r.Containers == nil {
		r.Containers = map[string]v1.ResourceRequirements{}
	}
	r.Containers[id] = has
	return r
}

// WithSandbox is the record after the Pod's cgroup was given limits.
func (r Record) WithSandbox(id string, has spec.PodLimits) Record {
	r.Sandboxes = map[string]spec.PodLimits{id: has} // the others are gone
	return r
}

// Forget is the record without runs that no longer exist.
func (r Record) Forget(gone func(id string) bool) Record {
	kept := map[string]v1.ResourceRequirements{}
	for id, has := range r.Containers {
		if !gone(id) {
			kept[id] = has
		}
	}
	r.Containers = kept
	return r
}

// Store has the records of a node.
type Store struct {
	dir string

	choosing sync.Mutex // of users, one Pod at a time

	mu      sync.Mutex
	records map[types.UID]Record
}

// Open reads the records in dir, which is made if need be. A file that cannot be
// understood is removed and logged. A container with a hostPath may have replaced dir and
// what is in it, but not the directory that has it: no link leads out of that one.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	s := &Store{dir: filepath.Clean(dir), records: map[types.UID]Record{}}
	if err := s.open(logger); err != nil {
		return nil, fmt.Errorf("open the records of what pods were granted: %w", err)
	}
	return s, nil
}

func (s *Store) open(logger *slog.Logger) error {
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o750); err != nil {
		return err
	}
	if err := s.makeDir(logger); err != nil {
		return err
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		uid, whole := strings.CutSuffix(e.Name(), suffix)
		if !whole { // of a write that was cut short
			root.Remove(e.Name())
			continue
		}
		r, err := s.read(e.Name())
		if err != nil {
			logger.Warn("the record of what a pod was granted cannot be read; the pod's status takes its place", "uid", uid, "error", err)
			root.Remove(e.Name())
			continue
		}
		s.records[types.UID(uid)] = r
	}
	return nil
}

// makeDir makes the directory, in place of what is not one.
func (s *Store) makeDir(logger *slog.Logger) error {
	top, err := os.OpenRoot(filepath.Dir(s.dir))
	if err != nil {
		return err
	}
	defer top.Close()
	name := filepath.Base(s.dir)
	if info, err := top.Lstat(name); err == nil && !info.IsDir() {
		logger.Warn("the directory of the records of what pods were granted has been replaced; it is made anew, and the pods' statuses take their place", "dir", s.dir, "found", info.Mode().String())
		if err := top.Remove(name); err != nil {
			return err
		}
	}
	return top.MkdirAll(name, 0o750)
}

// root opens the directory.
func (s *Store) root() (*os.Root, error) {
	top, err := os.OpenRoot(filepath.Dir(s.dir))
	if err != nil {
		return nil, err
	}
	defer top.Close()
	return top.OpenRoot(filepath.Base(s.dir))
}

const suffix = ".json"

func (s *Store) read(name string) (r Record, err error) {
	text, err := host.ReadBeneath(filepath.Dir(s.dir), filepath.Join(filepath.Base(s.dir), name))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	if r.Granted == nil {
		return r, errors.New("it does not say what was granted")
	}
	return r, nil
}

// Get returns the record of a Pod.
func (s *Store) Get(uid types.UID) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[uid]
	return r, ok
}

// Set replaces the record of a Pod. On an error the former one stays.
func (s *Store) Set(uid types.UID, r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set(uid, r)
}

// amend changes the record of a Pod.
func (s *Store) amend(uid types.UID, change func(*Record)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[uid]
	change(&r)
	return s.set(uid, r)
}

func (s *Store) set(uid types.UID, r Record) error {
	if r.Users == 0 {
		r.Users = s.records[uid].Users // whoever replaces the record may have read it before
	}
	name, err := fileName(uid)
	if err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record what pod %s was granted: %w", uid, err)
	}
	if err := host.WriteBeneath(filepath.Dir(s.dir), filepath.Join(filepath.Base(s.dir), name), text); err != nil {
		return fmt.Errorf("record what pod %s was granted: %w", uid, err)
	}
	s.records[uid] = r
	return nil
}

// Remove drops the record of a Pod. None is no error.
func (s *Store) Remove(uid types.UID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, err := fileName(uid)
	if err != nil {
		return err
	}
	root, err := s.root()
	if err == nil {
		err = root.Remove(name)
		root.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record of what pod %s was granted: %w", uid, err)
	}
	delete(s.records, uid)
	return nil
}

// UIDs lists the Pods that have a record, in no order.
func (s *Store) UIDs() []types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	uids := make([]types.UID, 0, len(s.records))
	for uid := range s.records {
		uids = append(uids, uid)
	}
	return uids
}

func fileName(uid types.UID) (string, error) {
	if uid == "" || strings.ContainsAny(string(uid), "/\x00") {
		return "", fmt.Errorf("pod UID %q cannot be the name of a file", uid)
	}
	return string(uid) + suffix, nil
}
