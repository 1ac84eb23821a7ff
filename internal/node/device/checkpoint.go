package device

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"minato/internal/host"
)

// record is the form of the file.
type record struct {
	// Resources are those that plugins have registered.
	Resources []string `json:"resources"`
	Grants    []entry  `json:"grants"`
}

// entry is what one container has of one resource.
type entry struct {
	Pod       types.UID          `json:"pod"`
	Container string             `json:"container"`
	Resource  string             `json:"resource"`
	Devices   []string           `json:"devices"`
	NUMA      map[string][]int64 `json:"numa,omitempty"`
	// Response is the plugin's answer as it came, in the API's wire format.
	Response []byte `json:"response"`
}

// save writes the file. What a plugin was not asked yet is left out.
func (m *Manager) save() error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	data, err := m.ledger.encode()
	m.mu.Unlock()
	if err == nil && bytes.Equal(data, m.saved) {
		return nil
	}
	if err == nil {
		err = host.WriteRecord(m.cfg.File, data)
	}
	if err == nil {
		m.saved = data
	}
	if err != nil {
		return fmt.Errorf("record who has which device: %w", err)
	}
	return nil
}

func (l *ledger) encode() ([]byte, error) {
	r := record{Resources: slices.Sorted(maps.Keys(l.devices))}
	for s, g := range l.grants {
		if g.Response == nil {
			continue
		}
		answer, err := proto.Marshal(g.Response)
		if err != nil {
			return nil, err
		}
		r.Grants = append(r.Grants, entry{Pod: s.pod, Container: s.container, Resource: s.resource, Devices: g.IDs, NUMA: g.NUMA, Response: answer})
	}
	slices.SortFunc(r.Grants, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container), cmp.Compare(a.Resource, b.Resource))
	})
	return json.Marshal(r)
}

// load reads the file. Resources that had a plugin are known, without devices, until
// their plugins have registered again or the grace period is over.
func (m *Manager) load() error {
	data, err := host.ReadRecord(m.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := decode(data)
	if err != nil {
		return err
	}
	m.ledger = l
	for name := range l.devices {
		m.plugins[name] = &plugin{resource: name, since: m.cfg.Clock.Now(), stopped: m.cfg.Clock.Now()}
	}
	return nil
}

func decode(data []byte) (*ledger, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	l := newLedger()
	for _, name := range r.Resources {
		l.devices[name] = map[string]Device{}
	}
	for _, e := range r.Grants {
		if e.Pod == "" || e.Container == "" || e.Resource == "" {
			return nil, errors.New("a grant names no pod, container or resource")
		}
		answer := &pluginapi.ContainerAllocateResponse{}
		if err := proto.Unmarshal(e.Response, answer); err != nil {
			return nil, fmt.Errorf("what the plugin of %s answered for pod %s: %w", e.Resource, e.Pod, err)
		}
		l.grants[slot{e.Pod, e.Container, e.Resource}] = grant{IDs: e.Devices, NUMA: e.NUMA, Response: answer}
	}
	return l, nil
}
