package observe

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/spec"
)

// Cache keeps the runtime's view of all Pods. A read asks the runtime only for
// what has been marked as changed since the last one, so it is at least as new
// as every event and every action that was noted before it began.
//
// Relist finds what no event told of. Before its first success, and for a Pod
// given to Distrust, a read lists everything the runtime has of that Pod.
type Cache struct {
	runtime Runtime

	mu       sync.Mutex
	listed   bool
	clock    uint64 // counts changes
	pods     map[types.UID]*record
	owners   map[string]types.UID // of sandboxes and containers, by ID
	doubtful map[types.UID]uint64 // when a Pod was given to Distrust
}

// record are the sandboxes and containers of one Pod, by ID.
type record struct {
	sandboxes  map[string]*entry[Sandbox]
	containers map[string]*entry[Container]
}

// entry is one sandbox or container as it was read last.
type entry[T any] struct {
	sandbox string // the sandbox that a container belongs to
	added   uint64 // when the cache came to know of it
	changed uint64 // when it was marked as changed last
	read    uint64 // the value of changed that the read took into account
	named[T]
}

func (e *entry[T]) stale() bool { return e.read != e.changed }

// NewCache returns an empty cache. It asks the runtime nothing.
func NewCache(r Runtime) *Cache {
	return &Cache{
		runtime: r,
		pods:    map[types.UID]*record{}, owners: map[string]types.UID{}, doubtful: map[types.UID]uint64{},
	}
}

// AddSandbox notes that a sandbox was made for the Pod.
func (c *Cache) AddSandbox(uid types.UID, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addSandbox(uid, id)
}

// AddContainer notes that a container was made in a sandbox of the Pod.
func (c *Cache) AddContainer(uid types.UID, sandboxID, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addContainer(uid, sandboxID, id)
}

// Changed notes that something happened to a container, or to a sandbox if
// containerID is empty, and returns the Pod that they belong to.
func (c *Cache) Changed(sandboxID, containerID string) (uid types.UID, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid, known = c.owners[sandboxID]
	if !known {
		uid, known = c.owners[containerID]
	}
	if !known {
		return "", false
	}
	p := c.pods[uid]
	if e := p.sandboxes[sandboxID]; e != nil {
		e.changed = c.tick()
	}
	switch e := p.containers[containerID]; {
	case e != nil:
		e.changed = c.tick()
	case containerID != "" && sandboxID != "":
		c.addContainer(uid, sandboxID, containerID)
	}
	return uid, true
}

// ChangedAll notes that anything may have happened to a sandbox and to what is
// in it.
func (c *Cache) ChangedAll(sandboxID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[c.owners[sandboxID]]
	if p == nil {
		return
	}
	if e := p.sandboxes[sandboxID]; e != nil {
		e.changed = c.tick()
	}
	for _, e := range p.containers {
		if e.sandbox == sandboxID {
			e.changed = c.tick()
		}
	}
}

// Removed notes that a sandbox, with what was in it, or a container was removed.
func (c *Cache) Removed(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid := c.owners[id]
	p := c.pods[uid]
	if p == nil {
		return
	}
	for container, e := range p.containers {
		if e.sandbox == id {
			c.forget(uid, container)
		}
	}
	c.forget(uid, id)
}

// Distrust has the next read of the Pod list everything: an action failed, and
// what it left behind is not known.
func (c *Cache) Distrust(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubtful[uid] = c.tick()
}

// Read takes a snapshot of one Pod. A Pod that the runtime does not know gives
// an empty snapshot.
func (c *Cache) Read(ctx context.Context, uid types.UID) (*Pod, error) {
	if err := c.resolve(ctx, uid); err != nil {
		return nil, err
	}
	sandboxes, containers := c.entries(uid)
	out := &Pod{UID: uid}
	for id, e := range sandboxes {
		if e.stale() {
			s, found, err := readSandbox(ctx, c.runtime, id)
			if err != nil {
				return nil, fmt.Errorf("pod %s: %w", uid, err)
			}
			if !found {
				c.drop(uid, id)
				continue
			}
			e.named = s
			keep(c, uid, e, id, func(p *record) map[string]*entry[Sandbox] { return p.sandboxes })
		}
		out.addSandbox(e.named)
	}
	for id, e := range containers {
		if e.stale() {
			s, found, err := readContainer(ctx, c.runtime, id, e.sandbox)
			if err != nil {
				return nil, fmt.Errorf("pod %s: %w", uid, err)
			}
			if !found {
				c.drop(uid, id)
				continue
			}
			e.named = s
			keep(c, uid, e, id, func(p *record) map[string]*entry[Container] { return p.containers })
		}
		out.addContainer(e.named)
	}
	out.sort()
	return out, nil
}

// UIDs lists the Pods that the cache knows of.
func (c *Cache) UIDs() []types.UID {
	c.mu.Lock()
	defer c.mu.Unlock()
	uids := make([]types.UID, 0, len(c.pods))
	for uid := range c.pods {
		uids = append(uids, uid)
	}
	return uids
}

// Knows tells whether the runtime has a sandbox or a container of the Pod.
func (c *Cache) Knows(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[uid] != nil
}

// Relist compares the cache with all that the runtime has, and returns the Pods
// of which something was not as the cache had it.
func (c *Cache) Relist(ctx context.Context) ([]types.UID, error) {
	begin := c.now()
	sandboxes, containers, err := list(ctx, c.runtime, "")
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.merge(sandboxes, containers)
	changed := found.changed
	for uid := range c.pods {
		changed[uid] = c.prune(uid, found.ids, begin) || changed[uid]
	}
	c.listed = true
	var uids []types.UID
	for uid, is := range changed {
		if is {
			uids = append(uids, uid)
		}
	}
	return uids, nil
}

// resolve lists a Pod that the cache cannot vouch for.
func (c *Cache) resolve(ctx context.Context, uid types.UID) error {
	c.mu.Lock()
	since, doubt := c.doubtful[uid]
	doubt = doubt || !c.listed
	begin := c.clock
	c.mu.Unlock()
	if !doubt {
		return nil
	}
	sandboxes, containers, err := list(ctx, c.runtime, uid)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.merge(sandboxes, containers)
	c.prune(uid, found.ids, begin)
	if c.doubtful[uid] == since {
		delete(c.doubtful, uid)
	}
	return nil
}

type merged struct {
	ids     map[string]bool
	changed map[types.UID]bool
}

// merge takes in what was listed; c.mu is held.
func (c *Cache) merge(sandboxes []*runtimeapi.PodSandbox, containers []*runtimeapi.Container) merged {
	out := merged{map[string]bool{}, map[types.UID]bool{}}
	for _, s := range sandboxes {
		uid := types.UID(s.GetLabels()[spec.LabelPodUID])
		if uid == "" {
			continue
		}
		out.ids[s.Id] = true
		e, fresh := c.addSandbox(uid, s.Id)
		ready := s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY
		if fresh || (!e.stale() && e.value.Ready != ready) {
			e.changed = c.tick()
			out.changed[uid] = true
		}
	}
	for _, ctr := range containers {
		uid := types.UID(ctr.GetLabels()[spec.LabelPodUID])
		if uid == "" {
			continue
		}
		out.ids[ctr.Id] = true
		e, fresh := c.addContainer(uid, ctr.GetPodSandboxId(), ctr.Id)
		if fresh || (!e.stale() && e.value.State != ctr.GetState()) {
			e.changed = c.tick()
			out.changed[uid] = true
		}
	}
	return out
}

// prune drops what was not found by a listing, unless it came after the listing
// began; c.mu is held.
func (c *Cache) prune(uid types.UID, found map[string]bool, begin uint64) (dropped bool) {
	p := c.pods[uid]
	if p == nil {
		return false
	}
	var gone []string
	for id, e := range p.sandboxes {
		if !found[id] && e.added <= begin {
			gone = append(gone, id)
		}
	}
	for id, e := range p.containers {
		if !found[id] && e.added <= begin {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		c.forget(uid, id)
	}
	return len(gone) > 0
}

func (c *Cache) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

func (c *Cache) tick() uint64 { c.clock++; return c.clock }

func (c *Cache) pod(uid types.UID) *record {
	p := c.pods[uid]
	if p == nil {
		p = &record{sandboxes: map[string]*entry[Sandbox]{}, containers: map[string]*entry[Container]{}}
		c.pods[uid] = p
	}
	return p
}

func (c *Cache) addSandbox(uid types.UID, id string) (e *entry[Sandbox], fresh bool) {
	p := c.pod(uid)
	if e = p.sandboxes[id]; e != nil {
		return e, false
	}
	now := c.tick()
	e = &entry[Sandbox]{added: now, changed: now}
	p.sandboxes[id], c.owners[id] = e, uid
	return e, true
}

func (c *Cache) addContainer(uid types.UID, sandboxID, id string) (e *entry[Container], fresh bool) {
	p := c.pod(uid)
	if e = p.containers[id]; e != nil {
		return e, false
	}
	now := c.tick()
	e = &entry[Container]{sandbox: sandboxID, added: now, changed: now}
	p.containers[id], c.owners[id] = e, uid
	return e, true
}

// entries copies what is known of a Pod.
func (c *Cache) entries(uid types.UID) (map[string]entry[Sandbox], map[string]entry[Container]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[uid]
	if p == nil {
		return nil, nil
	}
	sandboxes := make(map[string]entry[Sandbox], len(p.sandboxes))
	for id, e := range p.sandboxes {
		sandboxes[id] = *e
	}
	containers := make(map[string]entry[Container], len(p.containers))
	for id, e := range p.containers {
		containers[id] = *e
	}
	return sandboxes, containers
}

// keep stores what was read. The entry stays stale if it changed meanwhile.
func keep[T any](c *Cache, uid types.UID, e entry[T], id string, of func(*record) map[string]*entry[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[uid]
	if p == nil {
		return
	}
	if now := of(p)[id]; now != nil && now.added == e.added && e.changed > now.read {
		now.named, now.read = e.named, e.changed
	}
}

func (c *Cache) drop(uid types.UID, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(uid, id)
}

// forget drops one sandbox or container; c.mu is held.
func (c *Cache) forget(uid types.UID, id string) {
	p := c.pods[uid]
	if p == nil {
		return
	}
	delete(p.sandboxes, id)
	delete(p.containers, id)
	delete(c.owners, id)
	if len(p.sandboxes)+len(p.containers) == 0 {
		delete(c.pods, uid)
	}
}
