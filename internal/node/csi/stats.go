package csi

import (
	"context"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// statsTimeout bounds the wait for a driver that is asked what a volume takes, and
	// statsAge is how long its answer is good: who reads metrics does not wait for a
	// driver that hangs more than once in that time.
	statsTimeout = 3 * time.Second
	statsAge     = 30 * time.Second
)

// Stats is what a volume takes and has, in bytes and inodes; zero is what the driver
// does not tell.
type Stats struct {
	Used, Capacity, Available      uint64
	InodesUsed, Inodes, InodesFree uint64
	// Abnormal says, if it is not empty, what the driver finds wrong with the volume.
	Abnormal string
}

type statsKey struct {
	uid  types.UID
	name string
}

type cachedStats struct {
	at    time.Time
	stats Stats
	ok    bool
}

// Stats asks the driver for the figures of a volume, by the name of the
// PersistentVolume, or the Pod's for an inline one. ok is false where the driver does
// not tell.
func (m *Manager) Stats(ctx context.Context, uid types.UID, name string) (s Stats, ok bool) {
	key := statsKey{uid, name}
	m.mu.Lock()
	u := m.users[uid][escape(name)]
	last, had := m.stats[key]
	if u != nil && time.Since(m.silent[u.Driver]) < statsAge { // one volume of a driver that hangs is enough
		m.mu.Unlock()
		return last.stats, false
	}
	usable := u != nil && u.done
	for k, c := range m.stats {
		if time.Since(c.at) > 10*statsAge {
			delete(m.stats, k)
		}
	}
	m.mu.Unlock()
	if !usable {
		return s, false
	}
	if had && time.Since(last.at) < statsAge {
		return last.stats, last.ok
	}
	s, ok = m.ask(ctx, uid, u)
	m.mu.Lock()
	m.stats[key] = cachedStats{time.Now(), s, ok}
	m.mu.Unlock()
	return s, ok
}

func (m *Manager) ask(ctx context.Context, uid types.UID, u *use) (s Stats, ok bool) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	defer func() {
		// The driver may end a call at its deadline a moment before this side does.
		if !ok && time.Since(began) > statsTimeout*9/10 {
			m.mu.Lock()
			m.silent[u.Driver] = time.Now()
			m.mu.Unlock()
		}
	}()
	d, err := m.driver(u.Driver)
	if err != nil {
		return s, false
	}
	if able, err := m.has(ctx, d, spec.NodeServiceCapability_RPC_GET_VOLUME_STATS); err != nil || !able {
		return s, false
	}
	p := places(uid, &u.record)
	req := &spec.NodeGetVolumeStatsRequest{VolumeId: u.Handle, VolumePath: m.onNode(p.target)}
	if stages, err := m.has(ctx, d, spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME); err == nil && stages && u.Lifecycle != "Ephemeral" {
		req.StagingTargetPath = m.onNode(p.staging)
	}
	resp, err := call(ctx, m, d, "NodeGetVolumeStats", nil, req, d.node.NodeGetVolumeStats)
	if err != nil {
		return s, false
	}
	for _, usage := range resp.GetUsage() {
		used, total, available := positive(usage.GetUsed()), positive(usage.GetTotal()), positive(usage.GetAvailable())
		switch usage.GetUnit() {
		case spec.VolumeUsage_BYTES:
			s.Used, s.Capacity, s.Available = used, total, available
		case spec.VolumeUsage_INODES:
			s.InodesUsed, s.Inodes, s.InodesFree = used, total, available
		}
	}
	if c := resp.GetVolumeCondition(); c.GetAbnormal() {
		s.Abnormal = c.GetMessage()
	}
	return s, true
}

func positive(n int64) uint64 { return uint64(max(n, 0)) }
