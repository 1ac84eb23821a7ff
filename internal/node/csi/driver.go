package csi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"minato/internal/node/plugins"
)

// driver is a CSI driver that is registered.
type driver struct {
	name   string
	plugin plugins.Plugin
	conn   *grpc.ClientConn
	node   spec.NodeClient
	info   *spec.NodeGetInfoResponse // what it says of the node

	// limitAt is when its limit is looked at anew, and asking whether it is; the
	// manager's lock guards them.
	limitAt time.Time
	asking  bool

	mu   sync.Mutex
	caps map[spec.NodeServiceCapability_RPC_Type]bool // nil: not asked yet
}

// errNotRegistered is why a volume of an unknown driver can't be made.
var errNotRegistered = errors.New("is not registered on this node: its Pod has to run here, and its registrar to put a socket into " + plugins.Dir)

// driver returns a driver by its name.
func (m *Manager) driver(name string) (*driver, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.drivers[name]
	if d == nil {
		return nil, fmt.Errorf("the CSI driver %s %w", name, errNotRegistered)
	}
	return d, nil
}

// has tells whether the driver's node service can do something. The answer is asked
// for once: a driver that changes registers anew.
func (m *Manager) has(ctx context.Context, d *driver, what spec.NodeServiceCapability_RPC_Type) (bool, error) {
	d.mu.Lock()
	caps := d.caps
	d.mu.Unlock()
	if caps != nil {
		return caps[what], nil
	}
	resp, err := call(ctx, m, d, "NodeGetCapabilities", nil, &spec.NodeGetCapabilitiesRequest{}, d.node.NodeGetCapabilities)
	if err != nil {
		return false, err
	}
	caps = map[spec.NodeServiceCapability_RPC_Type]bool{}
	for _, c := range resp.GetCapabilities() {
		caps[c.GetRpc().GetType()] = true
	}
	d.mu.Lock()
	d.caps = caps
	d.mu.Unlock()
	return caps[what], nil
}

// call makes one call of a driver within the bound of time, and tells, by slow, when
// that has not returned for a while.
func call[Q, R any](ctx context.Context, m *Manager, d *driver, method string, slow func(message string), req Q,
	f func(context.Context, Q, ...grpc.CallOption) (R, error)) (R, error) {
	limit, began := m.cfg.Timeout, time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if slow != nil {
		timer := time.AfterFunc(min(slowAfter, limit/2), func() {
			slow(fmt.Sprintf("the CSI driver %s has not answered %s for %s; it is given up after %s and asked again", d.name, method, min(slowAfter, limit/2), limit))
		})
		defer timer.Stop()
	}
	resp, err := f(ctx, req)
	if err == nil {
		return resp, nil
	}
	// The driver may end a call at its deadline a moment before this side does.
	late := status.Code(err) == codes.DeadlineExceeded && time.Since(began) > limit*9/10
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || late {
		return resp, fmt.Errorf("the CSI driver %s did not answer %s within %s", d.name, method, time.Since(began).Round(time.Second))
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return resp, context.Canceled
	}
	return resp, &DriverError{Driver: d.name, Method: method, Code: status.Code(err), Message: status.Convert(err).Message()}
}

// DriverError is what a driver answered in place of doing something, or why it could
// not be asked.
type DriverError struct {
	Driver, Method, Message string
	Code                    codes.Code
}

func (e *DriverError) Error() string {
	return fmt.Sprintf("%s of the CSI driver %s failed: %s: %s", e.Method, e.Driver, e.Code, e.Message)
}

// infeasible tells whether trying again is in vain.
func infeasible(err error) bool {
	var refused *DriverError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound:
		return true
	}
	return false
}
