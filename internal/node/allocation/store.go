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
// understood is removed and logged.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open the records of what pods were granted: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the records of what pods were granted: %w", err)
	}
	s := &Store{dir: dir, records: map[types.UID]Record{}}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		uid, whole := strings.CutSuffix(e.Name(), suffix)
		if !whole { // of a write that was cut short
			os.Remove(path)
			continue
		}
		r, err := read(path)
		if err != nil {
			logger.Warn("the record of what a pod was granted cannot be read; the pod's status takes its place", "uid", uid, "error", err)
			os.Remove(path)
			continue
		}
		s.records[types.UID(uid)] = r
	}
	return s, nil
}

const suffix = ".json"

func read(path string) (r Record, err error) {
	text, err := os.ReadFile(path)
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
	path, err := s.path(uid)
	if err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record what pod %s was granted: %w", uid, err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("record what pod %s was granted: %w", uid, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("record what pod %s was granted: %w", uid, err)
	}
	s.records[uid] = r
	return nil
}

// Remove drops the record of a Pod. None is no error.
func (s *Store) Remove(uid types.UID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := s.path(uid)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
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

func (s *Store) path(uid types.UID) (string, error) {
	if uid == "" || strings.ContainsAny(string(uid), "/\x00") {
		return "", fmt.Errorf("pod UID %q cannot be the name of a file", uid)
	}
	return filepath.Join(s.dir, string(uid)+suffix), nil
}
