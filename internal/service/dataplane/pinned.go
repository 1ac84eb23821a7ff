package dataplane

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
)

// PinnedFlows is the table that Flows returns, of a data plane that another process has opened, if there is one.
type PinnedFlows struct {
	// PinDir is the data plane's.
	PinDir string
	Logger *slog.Logger

	mu   sync.Mutex
	m    *ebpf.Map
	file fs.FileInfo // that m was opened from; nil if there was none
}

func (p *PinnedFlows) path() string { return filepath.Join(p.PinDir, "maps-"+layoutVersion, "flows") }

// Map opens the table that is pinned now, nil if there is none, in place of the one that was opened before. It is not to be
// written or closed.
func (p *PinnedFlows) Map() *ebpf.Map {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close()
	file, err := os.Stat(p.path())
	if err != nil {
		return nil // no data plane, or one of a version with another layout
	}
	p.file = file
	if p.m, err = ebpf.LoadPinnedMap(p.path(), nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.Logger.Warn("The Service data plane's table of flows can't be opened; flows are handed on without it", "error", err)
	}
	return p.m
}

// Changed tells whether Map would return another table, or one where there was none. A table that has gone is as good as ever.
func (p *PinnedFlows) Changed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	file, err := os.Stat(p.path())
	return err == nil && (p.file == nil || !os.SameFile(file, p.file))
}

// Close closes the table.
func (p *PinnedFlows) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close()
}

func (p *PinnedFlows) close() {
	if p.m != nil {
		p.m.Close()
	}
	p.m, p.file = nil, nil
}
