package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"minato/internal/host"
)

// sysctls remembers which settings of the machine were changed, and puts them
// back when the last cluster that needs them goes, also after the process that
// changed them was killed.
type sysctls struct {
	file    string // of all clusters
	cluster string
}

// sysctlRecord is what the file says.
type sysctlRecord struct {
	Clusters []string       `json:"clusters"` // that need the changes
	Changes  []sysctlChange `json:"changes"`  // in their order
}

// sysctlChange is a setting as it was before.
type sysctlChange struct {
	Path string `json:"path"`
	Was  string `json:"was"`
}

// setting is a value to be set.
type setting struct{ path, value string }

// byAnother stands for the value of a setting that the kernel changes when another
// one is set: it is recorded, to be put back, but not written.
const byAnother = ""

// set changes settings in their order, after their present values were recorded.
// Settings that other clusters changed stay changed until this one is gone too.
func (s sysctls) set(settings ...setting) error {
	return s.locked(func(r *sysctlRecord) error {
		var todo []setting
		for _, w := range settings {
			was, err := host.ReadSysctl(w.path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // the link has just gone
			}
			if err != nil {
				return err
			}
			if was == w.value {
				continue
			}
			todo = append(todo, w)
			// A recorded value is the one from before the first cluster.
			if !slices.ContainsFunc(r.Changes, func(c sysctlChange) bool { return c.Path == w.path }) {
				r.Changes = append(r.Changes, sysctlChange{w.path, was})
			}
		}
		if len(r.Changes) == 0 {
			return nil
		}
		if !slices.Contains(r.Clusters, s.cluster) {
			r.Clusters = append(r.Clusters, s.cluster)
		}
		if err := s.write(r); err != nil {
			return err
		}
		for _, w := range todo {
			if w.value == byAnother {
				continue
			}
			if err := host.Sysctl(w.path, w.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// raise sets a limit to at least this value, after its present value was recorded.
// A limit that another cluster has raised stays raised until this one is gone too.
func (s sysctls) raise(path string, least int64) error {
	now, err := host.ReadSysctl(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // this kernel does not have the limit
	}
	if err != nil {
		return err
	}
	have, err := strconv.ParseInt(now, 10, 64)
	if err != nil {
		return fmt.Errorf("raise sysctl %s: its value is no number: %w", path, err)
	}
	if have >= least {
		return s.set(setting{path, now}) // changes nothing, but records that this cluster needs the value
	}
	return s.set(setting{path, strconv.FormatInt(least, 10)})
}

// restore puts the recorded values back, the last change first, because setting
// net/ipv6/conf/all changes the values of single links, which are then put back.
// Nothing is restored while another cluster needs the changes, and links that are
// gone are skipped.
func (s sysctls) restore() error {
	return s.locked(func(r *sysctlRecord) error {
		if !slices.Contains(r.Clusters, s.cluster) {
			return nil
		}
		r.Clusters = slices.DeleteFunc(r.Clusters, func(c string) bool { return c == s.cluster })
		if len(r.Clusters) > 0 {
			return s.write(r)
		}
		var errs []error
		for _, c := range slices.Backward(r.Changes) {
			now, err := host.ReadSysctl(c.Path)
			if err == nil && now != c.Was {
				err = host.Sysctl(c.Path, c.Was)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		if len(errs) == 0 {
			errs = append(errs, os.Remove(s.file))
		}
		return errors.Join(errs...)
	})
}

// locked reads the record and keeps other clusters from it until do returns.
func (s sysctls) locked(do func(*sysctlRecord) error) error {
	// The directory is locked, because a lock file would be left behind.
	dir, err := os.Open(filepath.Dir(s.file))
	if errors.Is(err, fs.ErrNotExist) {
		return do(new(sysctlRecord)) // no cluster runs
	}
	if err != nil {
		return fmt.Errorf("lock the record of the machine's settings: %w", err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the record of the machine's settings: %w", err)
	}
	r := new(sysctlRecord)
	data, err := os.ReadFile(s.file)
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read which settings of the machine were changed, from %s: %w", s.file, err)
	}
	return do(r)
}

func (s sysctls) write(r *sysctlRecord) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(s.file, data, 0o600)
}
