package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpcstats "google.golang.org/grpc/stats"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	api "k8s.io/kubelet/pkg/apis/dra/v1"
	"k8s.io/kubelet/pkg/apis/dra/v1beta1"

	"minato/internal/node/plugins"
)

// The kubelet's: how long a driver may take for a call, and how long it may be gone
// before its ResourceSlices are removed.
const (
	callTimeout = 45 * time.Second
	wipeDelay   = 30 * time.Second
)

// reconnectPause is how soon a connection that was lost is made again, unless a call
// wants it before: a driver may close each at once.
const reconnectPause = 500 * time.Millisecond

// driver is one instance of a driver; of one there may be two while it is replaced.
type driver struct {
	plugin plugins.Plugin
	conn   *grpc.ClientConn
	// old is set where the driver speaks v1beta1 only.
	old  bool
	stop context.CancelFunc // ends what follows the health of its devices
	up   chan struct{}      // is told of connections

	// These are guarded by drivers.mu.
	connected bool
	states    states
	expiry    *time.Timer // of the first of the states
}

// services are those of a driver's API that the node speaks, in its order.
var services = [...]string{api.DRAPluginService, v1beta1.DRAPluginService}

func (d *driver) prepare(ctx context.Context, c *api.Claim) (*api.NodePrepareResourceResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &api.NodePrepareResourcesRequest{Claims: []*api.Claim{c}}
	var answer *api.NodePrepareResourcesResponse
	var err error
	if d.old {
		answer, err = v1beta1.V1Beta1ClientWrapper{DRAPluginClient: v1beta1.NewDRAPluginClient(d.conn)}.NodePrepareResources(ctx, req)
	} else {
		answer, err = api.NewDRAPluginClient(d.conn).NodePrepareResources(ctx, req)
	}
	if err != nil {
		return nil, fmt.Errorf("NodePrepareResources: %w", err)
	}
	result := answer.GetClaims()[c.Uid]
	switch {
	case result == nil:
		return nil, fmt.Errorf("NodePrepareResources: the driver %s skipped ResourceClaim %s", d.plugin.Name, c.Name)
	case result.GetError() != "":
		return nil, fmt.Errorf("NodePrepareResources failed for ResourceClaim %s: %s", c.Name, result.GetError())
	}
	return result, nil
}

func (d *driver) unprepare(ctx context.Context, c *api.Claim) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &api.NodeUnprepareResourcesRequest{Claims: []*api.Claim{c}}
	var answer *api.NodeUnprepareResourcesResponse
	var err error
	if d.old {
		answer, err = v1beta1.V1Beta1ClientWrapper{DRAPluginClient: v1beta1.NewDRAPluginClient(d.conn)}.NodeUnprepareResources(ctx, req)
	} else {
		answer, err = api.NewDRAPluginClient(d.conn).NodeUnprepareResources(ctx, req)
	}
	if err != nil {
		return fmt.Errorf("NodeUnprepareResources: %w", err)
	}
	result := answer.GetClaims()[c.Uid]
	switch {
	case result == nil:
		return fmt.Errorf("NodeUnprepareResources: the driver %s skipped ResourceClaim %s", d.plugin.Name, c.Name)
	case result.GetError() != "":
		return fmt.Errorf("NodeUnprepareResources failed for ResourceClaim %s: %s", c.Name, result.GetError())
	}
	return nil
}

// drivers are those that have registered.
type drivers struct {
	cfg Config
	// differ is told which devices of a driver are otherwise than before.
	differ func(driver string, at []place)
	wg     sync.WaitGroup

	mu  sync.Mutex
	all map[string][]*driver // by name, the newest last
	// gone says since when a driver has no instance that is connected.
	gone    map[string]time.Time
	closed  bool
	changed chan struct{}
}

func newDrivers(cfg Config, differ func(driver string, at []place)) *drivers {
	return &drivers{cfg: cfg, differ: differ, all: map[string][]*driver{}, gone: map[string]time.Time{}, changed: make(chan struct{}, 1)}
}

// get returns the instance of a driver to ask: the newest that is connected.
func (s *drivers) get(name string) (*driver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.all[name]
	if len(list) == 0 {
		return nil, fmt.Errorf("DRA driver %s is not registered", name)
	}
	for _, d := range slices.Backward(list) {
		if d.connected {
			return d, nil
		}
	}
	return list[len(list)-1], nil
}

// checkName refuses what the API takes in no claim or ResourceSlice as a driver. Those of
// "" would be the slices of all drivers.
func checkName(name string) error {
	if len(name) > resourceapi.DriverNameMaxLength {
		return fmt.Errorf("the name of the driver %q is longer than %d characters", name, resourceapi.DriverNameMaxLength)
	}
	if wrong := validation.IsDNS1123Subdomain(strings.ToLower(name)); len(wrong) > 0 {
		return fmt.Errorf("the name of the driver %q is none: %s", name, wrong[0])
	}
	return nil
}

// add takes an instance that has registered.
func (s *drivers) add(p plugins.Plugin) error {
	if err := checkName(p.Name); err != nil {
		return err
	}
	d := &driver{plugin: p, up: make(chan struct{}, 1)}
	i := slices.IndexFunc(services[:], func(service string) bool { return slices.Contains(p.Versions, service) })
	if i < 0 {
		return fmt.Errorf("the driver %s serves %q; this node asks for one of %q", p.Name, p.Versions, services)
	}
	d.old = services[i] == v1beta1.DRAPluginService
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("this node takes no drivers any more, such as %s; it is being stopped", p.Name)
	}
	for _, other := range s.all[p.Name] {
		if other.plugin.Endpoint == p.Endpoint && other.plugin.Socket != p.Socket {
			return fmt.Errorf("endpoint %s already registered for DRA driver plugin %s", p.Endpoint, p.Name)
		}
	}
	conn, err := plugins.Dial(s.cfg.Root, p.Endpoint, grpc.WithStatsHandler(&monitor{s, d}), grpc.WithIdleTimeout(0))
	if err != nil {
		return err
	}
	d.conn = conn
	s.all[p.Name] = append(s.all[p.Name], d)
	conn.Connect()
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background()) // remove or close ends it
	s.wg.Go(func() { s.watch(ctx, d) })
	s.note(p.Name)
	return nil
}

// remove forgets an instance whose socket is gone.
func (s *drivers) remove(p plugins.Plugin) {
	s.mu.Lock()
	list := s.all[p.Name]
	i := slices.IndexFunc(list, func(d *driver) bool { return d.plugin.Socket == p.Socket && d.plugin.Registration == p.Registration })
	if i < 0 {
		s.mu.Unlock()
		return
	}
	d := list[i]
	if s.all[p.Name] = slices.Delete(slices.Clone(list), i, i+1); len(s.all[p.Name]) == 0 {
		delete(s.all, p.Name)
	}
	s.note(p.Name)
	s.mu.Unlock()
	d.stop()
	d.conn.Close() // which tells the monitor, who takes the lock
}

// note looks whether a driver answers, and since when it does not. s.mu is held.
func (s *drivers) note(name string) {
	if slices.ContainsFunc(s.all[name], func(d *driver) bool { return d.connected }) {
		delete(s.gone, name)
	} else if _, since := s.gone[name]; !since {
		s.gone[name] = time.Now()
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// monitor follows the connection to an instance.
type monitor struct {
	s *drivers
	d *driver
}

func (*monitor) TagRPC(ctx context.Context, _ *grpcstats.RPCTagInfo) context.Context   { return ctx }
func (*monitor) HandleRPC(context.Context, grpcstats.RPCStats)                         {}
func (*monitor) TagConn(ctx context.Context, _ *grpcstats.ConnTagInfo) context.Context { return ctx }

func (m *monitor) HandleConn(_ context.Context, event grpcstats.ConnStats) {
	connected := false
	switch event.(type) {
	case *grpcstats.ConnBegin:
		connected = true
	case *grpcstats.ConnEnd:
		time.AfterFunc(reconnectPause, m.d.conn.Connect) // gRPC would wait for a call
	default:
		return
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.d.connected = connected
	if connected {
		select {
		case m.d.up <- struct{}{}:
		default:
		}
	}
	m.s.note(m.d.plugin.Name)
}

// run removes the ResourceSlices of the node: all of them now, when no driver has
// registered yet, and those of a driver that has been gone for a while.
func (s *drivers) run(ctx context.Context) error {
	s.mu.Lock()
	s.closed = false
	s.mu.Unlock()
	defer s.close()
	tick := time.NewTicker(wipeDelay / 6)
	defer tick.Stop()
	wipe := map[string]bool{"": true}
	for {
		for name := range wipe {
			switch err := s.wipe(ctx, name); {
			case err == nil:
				delete(wipe, name)
			case ctx.Err() == nil:
				s.cfg.Logger.Warn("the ResourceSlices of drivers that the node does not have can't be removed; will try again", "driver", name, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.changed:
		}
		s.mu.Lock()
		for name, since := range s.gone {
			if time.Since(since) > wipeDelay {
				wipe[name] = true
				delete(s.gone, name)
			}
		}
		for name := range wipe { // one may have come back meanwhile
			if slices.ContainsFunc(s.all[name], func(d *driver) bool { return d.connected }) {
				delete(wipe, name)
			}
		}
		s.mu.Unlock()
	}
}

// wipe removes the ResourceSlices of a driver on this node, or, with "", of all.
func (s *drivers) wipe(ctx context.Context, name string) error {
	selector := fields.Set{resourceapi.ResourceSliceSelectorNodeName: s.cfg.NodeName}
	if name != "" {
		selector[resourceapi.ResourceSliceSelectorDriver] = name
	}
	err := s.cfg.Client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: selector.String()})
	if apierrors.IsNotFound(err) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// close ends all connections, and what waits for their drivers.
func (s *drivers) close() {
	s.mu.Lock()
	s.closed = true
	var all []*driver
	for _, list := range s.all {
		all = append(all, list...)
	}
	s.mu.Unlock()
	for _, d := range all {
		d.stop()
		d.conn.Close()
	}
	s.wg.Wait()
}
