package mirror

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// Reporter writes statuses of Pods, without waiting for it.
type Reporter interface {
	Set(pod *v1.Pod, status v1.PodStatus)
}

// Config is what a Keeper needs.
type Config struct {
	NodeName string
	HostIPs  []string
	// Client acts as the node.
	Client kubernetes.Interface
	// Node reads the node's Node; what it returns is as new as the call.
	Node func(ctx context.Context) (*v1.Node, error)
	// Pods has the Pods of the node.
	Pods cache.Store
	// Parts are shown once After is closed; nil is at once.
	Parts []Part
	After <-chan struct{}
	// Process names this process among all that the node ever was in.
	Process  string
	Reporter Reporter
	Events   record.EventRecorder
	Clock    clock.WithTicker
	Logger   *slog.Logger
}

// Keeper keeps the node's mirror Pods.
type Keeper struct {
	cfg   Config
	look  chan struct{}
	parts map[string]Part // by the key of the Pod

	mu      sync.Mutex
	statics map[string]static // by the key of the Pod

	// The rest belongs to Run's goroutine.
	wanted map[string]*v1.Pod            // what the parts are shown as, by key
	seen   map[string]*v1.Pod            // the mirror Pods that were there at the last look
	last   map[string]v1.ContainerStatus // of the parts
	gone   map[types.UID]bool            // deleted here, or dealt with
	made   map[string]time.Time          // created, but not seen yet
	told   map[string]string             // complaints, each to be made once
}

// static is a Pod that runs on the node, with the status that it has.
type static struct {
	pod    *v1.Pod
	status *v1.PodStatus
}

// lookPeriod is how often the parts are looked at, beside whenever somebody says
// that something has changed.
const lookPeriod = 5 * time.Second

// madeFor is how long the watch may take to tell of a mirror Pod that was created.
const madeFor = 10 * time.Second

// New returns a Keeper.
func New(cfg Config) *Keeper {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	k := &Keeper{
		cfg: cfg, look: make(chan struct{}, 1), parts: map[string]Part{}, statics: map[string]static{},
		wanted: map[string]*v1.Pod{}, seen: map[string]*v1.Pod{}, last: map[string]v1.ContainerStatus{},
		gone: map[types.UID]bool{}, made: map[string]time.Time{}, told: map[string]string{},
	}
	for _, p := range cfg.Parts {
		pod := podOf(p, cfg.NodeName)
		k.parts[key(pod)], k.wanted[key(pod)] = p, pod
	}
	return k
}

func key(pod *v1.Pod) string { return pod.Namespace + "/" + pod.Name }

// Part returns the part that a Pod shows.
func (k *Keeper) Part(pod *v1.Pod) (Part, bool) {
	p, ok := k.parts[key(pod)]
	return p, ok && Is(pod)
}

// Parts are the parts by what they are shown as, without statuses.
func (k *Keeper) Parts(each func(pod *v1.Pod, part Part)) {
	for _, p := range k.cfg.Parts {
		each(podOf(p, k.cfg.NodeName), p)
	}
}

// Look has the mirror Pods compared with what is.
func (k *Keeper) Look() {
	select {
	case k.look <- struct{}{}:
	default:
	}
}

// Run keeps the mirror Pods until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if k.cfg.After != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-k.cfg.After:
		}
	}
	tick := k.cfg.Clock.NewTicker(lookPeriod)
	defer tick.Stop()
	for {
		k.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-k.look:
		case <-tick.C():
		}
	}
}

// round makes one comparison.
func (k *Keeper) round(ctx context.Context) {
	now := map[string]*v1.Pod{}
	var taken []string // keys of Pods that are no mirrors
	for _, o := range k.cfg.Pods.List() {
		if pod, ok := o.(*v1.Pod); ok {
			if Is(pod) {
				now[key(pod)] = pod
			} else {
				taken = append(taken, key(pod))
			}
		}
	}
	wanted := k.all()
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if ctx.Err() != nil {
			return
		}
		var err error
		switch {
		case now[name] != nil:
			err = k.have(ctx, name, wanted[name], now[name])
		case slices.Contains(taken, name):
			err = fmt.Errorf("another Pod has the name %s", name)
		default:
			err = k.lack(ctx, name, wanted[name])
		}
		k.complain(ctx, name, err)
	}
	for name, pod := range now {
		if wanted[name] == nil {
			k.complain(ctx, name, k.remove(ctx, pod))
		}
	}
	k.remember(now)
}

// remember keeps what the next round compares with.
func (k *Keeper) remember(now map[string]*v1.Pod) {
	k.seen = now
	uids := map[types.UID]bool{}
	for name, pod := range now {
		uids[pod.UID] = true
		delete(k.made, name)
	}
	maps.DeleteFunc(k.gone, func(uid types.UID, _ bool) bool { return !uids[uid] })
}

func (k *Keeper) complain(ctx context.Context, name string, err error) {
	switch {
	case err == nil:
		delete(k.told, name)
	case ctx.Err() == nil && k.told[name] != err.Error():
		k.told[name] = err.Error()
		k.cfg.Logger.Warn("a mirror Pod is not as it should be; will try again", "pod", name, "error", err)
	}
}

// have deals with a mirror Pod that is there.
func (k *Keeper) have(ctx context.Context, name string, want, mirror *v1.Pod) error {
	switch {
	case mirror.DeletionTimestamp != nil:
		if err := k.deleted(ctx, name, mirror); err != nil {
			return err
		}
		return k.remove(ctx, mirror)
	case mirror.Annotations[AnnotationMirror] != want.Annotations[AnnotationHash]:
		return k.remove(ctx, mirror)
	}
	status, ok := k.status(name, mirror)
	if !ok || equality.Semantic.DeepEqual(mirror.Status, status) {
		return nil
	}
	k.cfg.Reporter.Set(mirror, status)
	return nil
}

// lack deals with a mirror Pod that is not there.
func (k *Keeper) lack(ctx context.Context, name string, want *v1.Pod) error {
	if before := k.seen[name]; before != nil {
		if err := k.deleted(ctx, name, before); err != nil {
			return err
		}
	}
	now := k.cfg.Clock.Now()
	if made, ok := k.made[name]; ok && now.Sub(made) < madeFor {
		return nil
	}
	node, err := k.cfg.Node(ctx)
	if apierrors.IsNotFound(err) {
		return nil // it was deleted, and the agent makes it anew
	}
	if err != nil {
		return fmt.Errorf("read the node to make the Pod: %w", err)
	}
	_, err = k.cfg.Client.CoreV1().Pods(want.Namespace).Create(ctx, mirrorOf(want, node.UID), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the Pod: %w", err)
	}
	k.made[name] = now
	return nil
}

// deleted is called for a mirror Pod that is deleted. If somebody else did that, and
// not because the Node was deleted, a part is started again.
func (k *Keeper) deleted(ctx context.Context, name string, mirror *v1.Pod) error {
	part, ok := k.parts[name]
	if !ok || k.gone[mirror.UID] {
		return nil
	}
	node, err := k.cfg.Node(ctx)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read the node to find out why the Pod was deleted: %w", err)
	}
	k.gone[mirror.UID] = true
	if err != nil || node.UID != owner(mirror) {
		return nil
	}
	k.cfg.Logger.Info("a part is started again because its Pod was deleted", "pod", name)
	if err := part.Restart(); err != nil {
		k.cfg.Events.Event(node, v1.EventTypeWarning, "RestartFailed", fmt.Sprintf("%s can't be started again: %v", part.Name, err))
	}
	return nil
}

// remove deletes a mirror Pod.
func (k *Keeper) remove(ctx context.Context, mirror *v1.Pod) error {
	k.gone[mirror.UID] = true
	zero := int64(0)
	err := k.cfg.Client.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &mirror.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete the Pod: %w", err)
	}
	return nil
}

// status is the status that a mirror Pod should have, if that is known.
func (k *Keeper) status(name string, mirror *v1.Pod) (v1.PodStatus, bool) {
	part, ok := k.parts[name]
	if !ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		s := k.statics[name].status
		if s == nil {
			return v1.PodStatus{}, false
		}
		return *s, true
	}
	f := facts{part: part, state: part.State(), process: k.cfg.Process, hostIPs: k.cfg.HostIPs, old: mirror.Status, now: k.cfg.Clock.Now()}
	if last, ok := k.last[name]; ok {
		f.last = &last
	} else if len(mirror.Status.ContainerStatuses) == 1 {
		f.last = &mirror.Status.ContainerStatuses[0]
	}
	s := statusOf(f)
	c := s.ContainerStatuses[0]
	if last, ok := k.last[name]; !ok || last.ContainerID != c.ContainerID {
		k.cfg.Logger.Info("a part of the cluster runs", "part", part.Name, "since", f.state.Since, "restarts", c.RestartCount, "command", part.Command)
	}
	k.last[name] = c
	return s, true
}

// all are the Pods that are to have mirror Pods, by key.
func (k *Keeper) all() map[string]*v1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := maps.Clone(k.wanted)
	for name, s := range k.statics {
		all[name] = s.pod
	}
	return all
}
