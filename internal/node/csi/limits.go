package csi

import (
	"context"
	"fmt"
	"sync"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	storagev1 "k8s.io/api/storage/v1"

	"minato/internal/node/guard"
)

// limitLook is how often the CSIDriver of a driver is read that does not ask for its
// limit to be followed, in case it begins to.
const limitLook = time.Minute

// LimitError is why a volume can't be attached: the node has as many volumes of the
// driver as it takes. The node has asked the driver anew how many that are, and what is
// scheduled from now on goes elsewhere.
type LimitError struct{ Driver, Message string }

func (e *LimitError) Error() string {
	return fmt.Sprintf("the node has as many volumes of the CSI driver %s as it takes: %s", e.Driver, e.Message)
}

// limitPeriod is the CSIDriver's nodeAllocatableUpdatePeriodSeconds, zero for none.
func limitPeriod(o *storagev1.CSIDriver) time.Duration {
	if o == nil || o.Spec.NodeAllocatableUpdatePeriodSeconds == nil {
		return 0
	}
	return time.Duration(*o.Spec.NodeAllocatableUpdatePeriodSeconds) * time.Second
}

// followLimits asks the drivers whose time has come how many volumes the node takes, in
// group, each by itself.
func (m *Manager) followLimits(ctx context.Context, now time.Time, group *sync.WaitGroup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.drivers {
		if now.Before(d.limitAt) || d.asking {
			continue
		}
		d.asking = true
		group.Go(func() {
			next := limitLook
			err := guard.Do("ask for a limit of volumes", func() error {
				o, err := m.object(ctx, d.name)
				if period := limitPeriod(o); err == nil && period > 0 {
					next = period
					err = m.askLimit(ctx, d)
				}
				return err
			})
			if err != nil && ctx.Err() == nil {
				m.cfg.Logger.Warn("the limit of volumes of a CSI driver could not be brought up to date; will try again", "driver", d.name, "error", err, "stack", string(guard.Stack(err)))
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			d.asking, d.limitAt = false, now.Add(next)
		})
	}
}

// askLimit writes to the CSINode how many volumes the driver says that the node takes.
func (m *Manager) askLimit(ctx context.Context, d *driver) error {
	info, err := call(ctx, m, d, "NodeGetInfo", nil, &spec.NodeGetInfoRequest{}, d.node.NodeGetInfo)
	if err != nil {
		return err
	}
	return m.info.setLimit(ctx, d.name, info.GetMaxVolumesPerNode())
}

// exhausted makes a LimitError of the attacher's answer, if the CSIDriver has limits be
// followed; the node then asks for the new one at once, as the kubelet does.
func (m *Manager) exhausted(ctx context.Context, r *request, err error) error {
	var full *fullError
	if !asFull(err, &full) || limitPeriod(r.object) == 0 {
		return err
	}
	if err := m.askLimit(ctx, r.driver); err != nil {
		m.cfg.Logger.Warn("the limit of volumes of a CSI driver could not be brought up to date", "driver", r.driver.name, "error", err)
	}
	return &LimitError{Driver: r.driver.name, Message: full.message}
}
