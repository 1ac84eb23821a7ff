package dra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	api "k8s.io/kubelet/pkg/apis/dra/v1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"minato/internal/host"
	"minato/internal/node/plugins"
)

// Config is what a Manager needs.
type Config struct {
	NodeName string
	// Client acts as the node.
	Client kubernetes.Interface
	// Root is the node's root directory.
	Root plugins.Dialer
	// File keeps what was begun for which claim. No Pod may see it.
	File string
	// Wake is called when devices of a Pod are otherwise than before; nil is nothing.
	Wake   func(pod types.UID)
	Logger *slog.Logger
}

// Manager has the drivers of dynamic resources of a node.
type Manager struct {
	cfg     Config
	drivers *drivers

	// busy has the claims that a driver is asked about, of which each is worked on for
	// one Pod at a time.
	busy locks

	mu     sync.Mutex
	ledger ledger
	saved  []byte
}

// Open returns a manager that knows what was begun before.
func Open(cfg Config) (*Manager, error) {
	if cfg.NodeName == "" || cfg.Client == nil || cfg.Root == nil || cfg.File == "" {
		return nil, errors.New("dra: Config.NodeName, Config.Client, Config.Root and Config.File are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Wake == nil {
		cfg.Wake = func(types.UID) {}
	}
	m := &Manager{cfg: cfg, ledger: ledger{}}
	m.drivers = newDrivers(cfg, m.wake)
	data, err := host.ReadRecord(cfg.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err == nil:
		if m.ledger, err = decode(data); err == nil {
			return m, nil
		}
		m.ledger = ledger{}
	}
	cfg.Logger.Warn("the record of prepared claims can't be read; claims of pods that end now are not unprepared", "file", cfg.File, "error", err)
	return m, nil
}

// Run removes ResourceSlices that no driver of the node answers for, until ctx ends.
func (m *Manager) Run(ctx context.Context) error { return m.drivers.run(ctx) }

// Register implements plugins.Handler.
func (m *Manager) Register(_ context.Context, p plugins.Plugin) error { return m.drivers.add(p) }

// Deregister implements plugins.Handler.
func (m *Manager) Deregister(p plugins.Plugin) { m.drivers.remove(p) }

// request is a claim of a Pod that is to be prepared.
type request struct {
	claim   *claim
	drivers map[string]*driver
}

// Prepare has the drivers prepare all claims of a Pod. It may be called again; what is
// prepared stays.
func (m *Manager) Prepare(ctx context.Context, pod *v1.Pod) error {
	names, err := claimNames(pod)
	if err != nil || len(names) == 0 {
		return err
	}
	// All claims are checked before anything is recorded: a Pod that can't have them may
	// go without any driver.
	var requests []request
	for _, n := range names {
		r, err := m.look(ctx, pod, n)
		if err != nil {
			return err
		}
		requests = append(requests, r)
	}
	for _, r := range requests {
		if err := m.prepare(ctx, pod, r); err != nil {
			return err
		}
	}
	return nil
}

// look reads a claim, and checks that the Pod may use it and that its drivers are here.
func (m *Manager) look(ctx context.Context, pod *v1.Pod, n named) (request, error) {
	c, err := m.cfg.Client.ResourceV1().ResourceClaims(pod.Namespace).Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return request{}, fmt.Errorf("fetch ResourceClaim %s: %w", n.name, err)
	}
	if n.owned {
		if err := resourceclaim.IsForPod(pod, c, false); err != nil {
			return request{}, err
		}
	}
	if !resourceclaim.IsReservedForPod(pod, c, false) {
		return request{}, fmt.Errorf("pod %s (%s) is not allowed to use ResourceClaim %s (%s)", pod.Name, pod.UID, c.Name, c.UID)
	}
	if c.Status.Allocation == nil {
		return request{}, fmt.Errorf("ResourceClaim %s: not allocated", c.Name)
	}
	r := request{
		claim:   &claim{Namespace: c.Namespace, Name: c.Name, UID: c.UID, Drivers: map[string][]device{}},
		drivers: map[string]*driver{},
	}
	for _, result := range c.Status.Allocation.Devices.Results {
		if r.drivers[result.Driver], err = m.drivers.get(result.Driver); err != nil {
			return request{}, err
		}
		r.claim.Drivers[result.Driver] = nil
		r.claim.Allocated = append(r.claim.Allocated, fmt.Sprintf("%s: %s/%s/%s", result.Request, result.Driver, result.Pool, result.Device))
	}
	return r, nil
}

// prepare records that the Pod has the claim, and asks its drivers unless they were.
func (m *Manager) prepare(ctx context.Context, pod *v1.Pod, r request) error {
	unlock, err := m.busy.lock(ctx, r.claim.key())
	if err != nil {
		return err
	}
	defer unlock()
	done, err := m.refer(pod.UID, r.claim)
	if err != nil || done {
		return err
	}
	asked := &api.Claim{Namespace: r.claim.Namespace, Name: r.claim.Name, Uid: string(r.claim.UID)}
	prepared := map[string][]device{}
	for name, d := range r.drivers {
		answer, err := d.prepare(ctx, asked)
		if err != nil {
			return err
		}
		for _, x := range answer.GetDevices() {
			prepared[name] = append(prepared[name], device{
				Pool: x.GetPoolName(), Name: x.GetDeviceName(), Share: x.ShareId, Requests: x.GetRequestNames(), CDI: x.GetCdiDeviceIds(),
			})
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.ledger[r.claim.key()]
	if c == nil {
		return fmt.Errorf("ResourceClaim %s was given up while it was prepared", r.claim.Name)
	}
	for name := range c.Drivers {
		c.Drivers[name] = prepared[name]
	}
	c.prepared = true
	return m.save()
}

// refer notes that a Pod has a claim, and tells whether the claim is prepared.
func (m *Manager) refer(pod types.UID, want *claim) (done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.ledger[want.key()]
	if c != nil && c.UID != want.UID {
		return false, fmt.Errorf("old ResourceClaim with same name %s and different UID %s still exists (previous pod force-deleted?!)", want.Name, c.UID)
	}
	if c == nil {
		c = want
		m.ledger[want.key()] = c
	}
	if len(c.Allocated) == 0 {
		c.Allocated = want.Allocated // a version that did not note it has recorded the claim
	}
	if !slices.Equal(c.Allocated, want.Allocated) {
		return false, fmt.Errorf("ResourceClaim %s has been allocated anew, and what was prepared before is still in use (previous pod force-deleted?!); it is prepared once that pod's containers have ended", want.Name)
	}
	if !slices.Contains(c.Pods, pod) {
		c.Pods = append(slices.Clone(c.Pods), pod)
	}
	return c.prepared, m.save()
}

// Unprepare gives up all claims of a Pod, of which nothing may run. It may be called
// again, also for a Pod that never had any.
func (m *Manager) Unprepare(ctx context.Context, pod types.UID) error {
	m.mu.Lock()
	all := m.ledger.of(pod)
	m.mu.Unlock()
	var errs []error
	for _, c := range all {
		errs = append(errs, m.unprepare(ctx, pod, c.key()))
	}
	return errors.Join(errs...)
}

func (m *Manager) unprepare(ctx context.Context, pod types.UID, name key) error {
	unlock, err := m.busy.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	m.mu.Lock()
	c := m.ledger[name]
	if c == nil || !slices.Contains(c.Pods, pod) {
		m.mu.Unlock()
		return nil
	}
	if len(c.Pods) > 1 { // others use it still
		defer m.mu.Unlock()
		c.Pods = slices.DeleteFunc(slices.Clone(c.Pods), func(uid types.UID) bool { return uid == pod })
		return m.save()
	}
	asked := &api.Claim{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)}
	var names []string
	for driver := range c.Drivers {
		names = append(names, driver)
	}
	m.mu.Unlock()
	slices.Sort(names)
	for _, driver := range names {
		d, err := m.drivers.get(driver)
		if err == nil {
			err = d.unprepare(ctx, asked)
		}
		if err != nil {
			return fmt.Errorf("unprepare dynamic resources: %w", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ledger, name)
	return m.save()
}

// save writes the record, if it is another than before. m.mu is held.
func (m *Manager) save() error {
	data, err := m.ledger.encode()
	if err == nil && bytes.Equal(data, m.saved) {
		return nil
	}
	if err == nil {
		err = host.WriteRecord(m.cfg.File, data)
	}
	if err != nil {
		return fmt.Errorf("record which claims are prepared: %w", err)
	}
	m.saved = data
	return nil
}

// Pods lists the Pods that have claims, in no order.
func (m *Manager) Pods() []types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []types.UID
	for _, c := range m.ledger {
		for _, pod := range c.Pods {
			if !slices.Contains(out, pod) {
				out = append(out, pod)
			}
		}
	}
	return out
}

// CDI are the names of the devices, in the Container Device Interface, that a container
// gets with the claims that it uses. They must be prepared.
func (m *Manager) CDI(pod *v1.Pod, c *v1.Container) ([]string, error) {
	uses, err := used(pod, c)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, u := range uses {
		have := m.ledger[key{pod.Namespace, u.claim}]
		if have == nil || !slices.Contains(have.Pods, pod.UID) {
			return nil, fmt.Errorf("ResourceClaim %s is not prepared for the pod", u.claim)
		}
		for _, name := range have.cdi(u.request) {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// Of implements podresources.Claims.
func (m *Manager) Of(pod *v1.Pod, c *v1.Container) []*podresources.DynamicResource {
	uses, err := used(pod, c)
	if err != nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*podresources.DynamicResource
	for _, u := range uses {
		have := m.ledger[key{pod.Namespace, u.claim}]
		if have == nil || slices.ContainsFunc(out, func(r *podresources.DynamicResource) bool { return r.ClaimName == u.claim }) {
			continue
		}
		one := &podresources.DynamicResource{ClaimName: have.Name, ClaimNamespace: have.Namespace}
		for _, driver := range slices.Sorted(maps.Keys(have.Drivers)) {
			for _, d := range have.Drivers[driver] {
				r := &podresources.ClaimResource{DriverName: driver, PoolName: d.Pool, DeviceName: d.Name, ShareId: d.Share}
				for _, id := range d.CDI {
					r.CdiDevices = append(r.CdiDevices, &podresources.CDIDevice{Name: id})
				}
				one.ClaimResources = append(one.ClaimResources, r)
			}
		}
		out = append(out, one)
	}
	return out
}
