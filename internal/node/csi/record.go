package csi

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	podsDir    = "pods"
	volumesDir = "volumes/kubernetes.io~csi"
	stagingDir = "plugins/kubernetes.io/csi"
	dataFile   = "vol_data.json"
	// maxRecord bounds a record, in bytes.
	maxRecord = 64 << 10
)

// record says what was begun for a volume of a Pod. It is a kubelet's vol_data.json,
// which some drivers read, with a few keys more.
type record struct {
	Name      string `json:"specVolID"` // that of the PersistentVolume, or the Pod's for an inline volume
	Handle    string `json:"volumeHandle"`
	Driver    string `json:"driverName"`
	Node      string `json:"nodeName,omitempty"`
	Attach    string `json:"attachmentID,omitempty"`
	Lifecycle string `json:"volumeLifecycleMode,omitempty"`
	// Block volumes are published as a device.
	Block bool `json:"minato.local/block,omitempty"`
	// Attached volumes are in the Node's volumesInUse.
	Attached bool `json:"minato.local/attached,omitempty"`
	// Published is set once the driver has said so.
	Published bool `json:"minato.local/published,omitempty"`
}

func (r *record) id() volumeID { return volumeID{r.Driver, r.Handle} }

// place is where things of a volume are, as paths below the agent's directory.
type place struct {
	dir     string // of the volume in the Pod
	target  string // at which it is published
	staging string // at which it is staged
}

// places computes the kubelet's paths.
func places(uid types.UID, r *record) place {
	p := place{dir: path.Join(podsDir, string(uid), volumesDir, escape(r.Name))}
	if r.Block {
		p.target = path.Join(stagingDir, "volumeDevices/publish", escape(r.Name), string(uid))
		p.staging = path.Join(stagingDir, "volumeDevices/staging", escape(r.Name))
		return p
	}
	p.target = path.Join(p.dir, "mount")
	p.staging = path.Join(stagingDir, escape(r.Driver), fmt.Sprintf("%x", sha256.Sum256([]byte(r.Handle))), "globalmount")
	return p
}

// escape makes a name one element of a path, as the kubelet does.
func escape(name string) string { return strings.ReplaceAll(name, "/", "~") }

// onNode and here are a path as drivers know it, and as this process does.
func (m *Manager) onNode(p string) string { return filepath.Join(m.cfg.NodeDir, p) }
func (m *Manager) here(p string) string   { return filepath.Join(m.cfg.Dir, p) }

// write notes a record at dir, all at once.
func (r *record) write(root *os.Root, dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	next := path.Join(dir, "."+dataFile)
	f, err := root.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return root.Rename(next, path.Join(dir, dataFile))
}

// readRecord reads the record at dir.
func readRecord(root *os.Root, dir string) (*record, error) {
	name := path.Join(dir, dataFile)
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return nil, fmt.Errorf("%s is not a record of a volume", name)
	}
	data, err := root.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseRecord(data)
}

// parseRecord reads a record, and refuses one that names no volume.
func parseRecord(data []byte) (*record, error) {
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read the record of a volume: %w", err)
	}
	if r.Name == "" || r.Handle == "" || r.Driver == "" {
		return nil, errors.New("the record of a volume lacks specVolID, volumeHandle or driverName")
	}
	for _, n := range []string{r.Name, r.Driver} {
		if n = escape(n); n == "." || n == ".." {
			return nil, fmt.Errorf("the record of a volume has the name %q, which is none", n)
		}
	}
	return r, nil
}

// recall fills users with what the Pods' directories have records of.
func (m *Manager) recall(root *os.Root) error {
	pods, err := names(root, podsDir)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		volumes, err := names(root, path.Join(podsDir, pod, volumesDir))
		if err != nil { // one Pod's directory keeps no other Pod from its volumes
			m.cfg.Logger.Warn("the records of a Pod's volumes can't be read; what drivers made of them is not unpublished", "pod", pod, "error", err)
			continue
		}
		for _, name := range volumes {
			r, err := readRecord(root, path.Join(podsDir, pod, volumesDir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue // nothing was begun
			}
			if err != nil {
				m.cfg.Logger.Warn("the record of a volume can't be used; what the driver made of it is not unpublished", "pod", pod, "volume", name, "error", err)
				continue
			}
			m.enter(types.UID(pod), r).begun = true
		}
	}
	return nil
}

// names lists a directory, nothing if there is none.
func names(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out, err := f.Readdirnames(-1)
	slices.Sort(out)
	return out, err
}

// enter notes that a Pod has a volume, or returns the note there is.
func (m *Manager) enter(uid types.UID, r *record) *use {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users[uid] == nil {
		m.users[uid] = map[string]*use{}
	}
	name := escape(r.Name)
	if u := m.users[uid][name]; u != nil {
		return u
	}
	u := &use{record: *r}
	m.users[uid][name] = u
	return u
}

func (m *Manager) leave(uid types.UID, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.users[uid], escape(name)); len(m.users[uid]) == 0 {
		delete(m.users, uid)
	}
}

// others tells whether something of the volume was begun beside this use of it: for
// another Pod, or for the same one by another PersistentVolume with the same handle.
func (m *Manager) others(u *use) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, volumes := range m.users {
		for _, other := range volumes {
			if other != u && other.id() == u.id() && other.begun {
				return true
			}
		}
	}
	return false
}

func sorted(set map[v1.UniqueVolumeName]bool) []v1.UniqueVolumeName {
	var out []v1.UniqueVolumeName
	for name := range set {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b v1.UniqueVolumeName) int { return cmp.Compare(a, b) })
	return out
}
