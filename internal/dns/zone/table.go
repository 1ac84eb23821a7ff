package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// DefaultTTL is the TTL of the records, in seconds.
const DefaultTTL = 30

// Config describes a zone.
type Config struct {
	// Domain is the cluster's domain, e.g. "cluster.local".
	Domain string
	// TTL is that of the records and of negative answers, in seconds; 0 means DefaultTTL.
	TTL uint32
	// NameServers are the addresses of ns.dns.<domain>: the cluster DNS Service's.
	NameServers []netip.Addr
	// Owned are the cluster's own address ranges. The zone answers NXDOMAIN for a
	// reverse name of an address in them that has no record; other reverse names
	// without a record are left to other servers.
	Owned []netip.Prefix
	// Pods says which names <dashed-ip>.<namespace>.pod.<domain> exist.
	Pods PodMode
}

// PodMode says which Pod names exist.
type PodMode uint8

// The modes; the first is what kubeadm's clusters have.
const (
	PodsInsecure PodMode = iota // every address, whether or not a Pod has it
	PodsVerified                // those that a Pod of the namespace has
	PodsDisabled                // none
)

// Table is the one writer of a zone. Its methods, except Snapshot, must not be
// called at the same time; Snapshot may be called at any time by any goroutine.
type Table struct {
	current    atomic.Pointer[Snapshot]
	next       Snapshot
	services   map[string]*service          // by "<svc>.<ns>", without endpoints
	slices     map[string]*slice            // by "<namespace>/<name>"
	parts      map[string]map[string]*slice // by "<svc>.<ns>", then as slices
	namespaces map[string]*namespaceUse
	pods       map[string][]netip.Addr // by "<namespace>/<name>"
	dirty      map[string]struct{}
}

// namespaceUse says why a namespace exists: its object was seen, or a Service in it.
type namespaceUse struct {
	declared bool
	services int
}

// New returns an empty zone.
func New(cfg Config) (*Table, error) {
	domain := strings.ToLower(strings.Trim(cfg.Domain, "."))
	if aliasTarget(domain) == "" {
		return nil, fmt.Errorf("dns zone: domain %q is not a domain name; use one such as cluster.local", cfg.Domain)
	}
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	z := &settings{
		domain:      domain + ".",
		suffix:      ".svc." + domain + ".",
		ttl:         cfg.TTL,
		nameServers: append([]netip.Addr(nil), cfg.NameServers...),
		pods:        cfg.Pods,
	}
	for _, p := range cfg.Owned {
		z.owned = append(z.owned, p.Masked())
	}
	z.prepare()
	t := &Table{
		next:       Snapshot{zone: z},
		services:   map[string]*service{},
		slices:     map[string]*slice{},
		parts:      map[string]map[string]*slice{},
		namespaces: map[string]*namespaceUse{},
		pods:       map[string][]netip.Addr{},
		dirty:      map[string]struct{}{},
	}
	t.publish()
	return t, nil
}

// Snapshot returns the zone as of the last Commit.
func (t *Table) Snapshot() *Snapshot { return t.current.Load() }

// SetService adds or replaces a Service.
func (t *Table) SetService(in *corev1.Service) {
	k := in.Name + "." + in.Namespace
	if _, known := t.services[k]; !known {
		t.namespace(in.Namespace, func(u *namespaceUse) { u.services++ })
	}
	t.services[k] = newService(in)
	t.dirty[k] = struct{}{}
}

// DeleteService removes a Service, if it is there.
func (t *Table) DeleteService(namespace, name string) {
	k := name + "." + namespace
	if _, known := t.services[k]; !known {
		return
	}
	delete(t.services, k)
	t.namespace(namespace, func(u *namespaceUse) { u.services-- })
	t.dirty[k] = struct{}{}
}

// SetEndpointSlice adds or replaces an EndpointSlice. It may come before its Service.
func (t *Table) SetEndpointSlice(in *discoveryv1.EndpointSlice) {
	id := in.Namespace + "/" + in.Name
	t.dropSlice(id)
	s := newSlice(in)
	if s.service == "" {
		return
	}
	t.slices[id] = s
	if t.parts[s.service] == nil {
		t.parts[s.service] = map[string]*slice{}
	}
	t.parts[s.service][id] = s
	t.dirty[s.service] = struct{}{}
}

// DeleteEndpointSlice removes an EndpointSlice, if it is there.
func (t *Table) DeleteEndpointSlice(namespace, name string) {
	t.dropSlice(namespace + "/" + name)
}

func (t *Table) dropSlice(id string) {
	old, known := t.slices[id]
	if !known {
		return
	}
	delete(t.slices, id)
	delete(t.parts[old.service], id)
	if len(t.parts[old.service]) == 0 {
		delete(t.parts, old.service)
	}
	t.dirty[old.service] = struct{}{}
}

// SetNamespace makes the names of a namespace exist even while it has no Service.
func (t *Table) SetNamespace(name string) {
	t.namespace(name, func(u *namespaceUse) { u.declared = true })
}

// DeleteNamespace undoes SetNamespace, if that was called.
func (t *Table) DeleteNamespace(name string) {
	t.namespace(name, func(u *namespaceUse) { u.declared = false })
}

func (t *Table) namespace(name string, change func(*namespaceUse)) {
	u := t.namespaces[name]
	if u == nil {
		u = &namespaceUse{}
		t.namespaces[name] = u
	}
	change(u)
	if u.declared || u.services > 0 {
		t.next.namespaces = t.next.namespaces.set(foldKey(name), struct{}{})
		return
	}
	delete(t.namespaces, name)
	t.next.namespaces = t.next.namespaces.remove(foldKey(name))
}

// Configure changes the records' TTL (0 means DefaultTTL) and which Pod names
// exist; the next Commit publishes it.
func (t *Table) Configure(ttl uint32, pods PodMode) {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	z := *t.next.zone
	z.ttl, z.pods = ttl, pods
	t.next.zone = &z
}

// SetPod sets the addresses of a Pod, which PodsVerified and Snapshot.Namespaces need.
func (t *Table) SetPod(namespace, name string, addrs []netip.Addr) {
	id := namespace + "/" + name
	old := t.pods[id]
	if slices.Equal(old, addrs) {
		return
	}
	t.DeletePod(namespace, name)
	for _, a := range addrs {
		list, _ := t.next.pods.get(addrKey(a))
		t.next.pods = t.next.pods.set(addrKey(a), append(slices.Clip(list), namespace))
	}
	if len(addrs) > 0 {
		t.pods[id] = slices.Clone(addrs)
	}
}

// DeletePod removes a Pod, if it is there.
func (t *Table) DeletePod(namespace, name string) {
	id := namespace + "/" + name
	for _, a := range t.pods[id] {
		list, _ := t.next.pods.get(addrKey(a))
		at := slices.Index(list, namespace)
		rest := append(slices.Clone(list[:at]), list[at+1:]...) // the list has the namespace once for each Pod
		if len(rest) == 0 {
			t.next.pods = t.next.pods.remove(addrKey(a))
			continue
		}
		t.next.pods = t.next.pods.set(addrKey(a), rest)
	}
	delete(t.pods, id)
}

// Commit publishes every change since the last one as one new Snapshot.
func (t *Table) Commit() *Snapshot {
	for k := range t.dirty {
		old, _ := t.next.services.get(foldKey(k))
		var fresh *service
		if s := t.services[k]; s != nil {
			fresh = s.withEndpoints(t.parts[k])
			t.next.services = t.next.services.set(foldKey(k), fresh)
		} else {
			t.next.services = t.next.services.remove(foldKey(k))
		}
		t.next.pointers = repoint(t.next.pointers, old, fresh)
	}
	clear(t.dirty)
	return t.publish()
}

func (t *Table) publish() *Snapshot {
	t.next.serial++
	s := t.next
	t.current.Store(&s)
	return &s
}
