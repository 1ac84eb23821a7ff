package claims

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/claims/plan"
)

// Events takes events about objects of the API.
type Events interface {
	// Event tells of something that happened to an object; eventType is v1.EventTypeNormal or EventTypeWarning.
	Event(source string, about v1.ObjectReference, eventType, reason, message string)
}

// Reasons of events, those that upstream's provisioners have.
const (
	reasonMade      = "ProvisioningSucceeded"
	reasonNotMade   = "ProvisioningFailed"
	reasonNotGone   = "VolumeFailedDelete"
	fieldManager    = "minato-claims"
	nodeWorkers     = 2
	controllerWorks = 1
)

// Informers are those of the objects that the package reads. Whoever owns them
// starts them.
type Informers struct {
	Claims  coreinformers.PersistentVolumeClaimInformer
	Volumes coreinformers.PersistentVolumeInformer
	Classes storageinformers.StorageClassInformer
}

// ask has the informers started with the others of their factory.
func (i Informers) ask() {
	i.Claims.Informer()
	i.Volumes.Informer()
	i.Classes.Informer()
}

func (i Informers) complete() bool { return i.Claims != nil && i.Volumes != nil && i.Classes != nil }

// NodeConfig is what a Node needs.
type NodeConfig struct {
	// Name is that of the Node, which is also its label kubernetes.io/hostname.
	Name string
	// Dir is the node's data directory; the directories are in Dir/volumes.
	Dir       string
	Client    kubernetes.Interface
	Informers Informers
	Events    Events
	Logger    *slog.Logger
}

// Node makes and removes the directories of one node.
type Node struct {
	cfg  NodeConfig
	dirs directories
}

// NewNode returns a Node that Run starts.
func NewNode(cfg NodeConfig) (*Node, error) {
	if cfg.Name == "" || cfg.Dir == "" || cfg.Client == nil || cfg.Events == nil || !cfg.Informers.complete() {
		return nil, errors.New("claims of a node: Name, Dir, Client, Events and Informers are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Informers.ask()
	return &Node{cfg: cfg, dirs: directories{cfg.Dir}}, nil
}

// Run works until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	q := newQueue(n.step, n.cfg.Logger)
	in := n.cfg.Informers
	stopClaims, claimsRead, err := q.follow(in.Claims.Informer(), aClaim)
	if err != nil {
		return n.unless(ctx, err)
	}
	defer stopClaims()
	stopVolumes, volumesRead, err := q.follow(in.Volumes.Informer(), aVolume)
	if err != nil {
		return n.unless(ctx, err)
	}
	defer stopVolumes()
	if !cache.WaitForCacheSync(ctx.Done(), claimsRead, volumesRead, in.Classes.Informer().HasSynced) {
		return nil
	}
	if err := n.dirs.sweep(n.known); err != nil {
		return err
	}
	q.run(ctx, nodeWorkers)
	return nil
}

// unless returns err, but nil if ctx has ended: the informers may have stopped
// before.
func (n *Node) unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("follow the claims for node %s: %w", n.cfg.Name, err)
}

// known tells whether there is a PersistentVolume of that name.
func (n *Node) known(volume string) bool {
	_, err := n.cfg.Informers.Volumes.Lister().Get(volume)
	return err == nil
}

func (n *Node) step(ctx context.Context, k key) error {
	if k.kind == aVolume {
		pv, err := n.cfg.Informers.Volumes.Lister().Get(k.name)
		if err != nil {
			return ignoreNotFound(err)
		}
		return n.reclaim(ctx, pv)
	}
	claim, class, err := n.cfg.Informers.wanted(k.name)
	if err != nil || claim == nil {
		return err
	}
	if node, ok := plan.Wanted(claim, class); !ok || node != n.cfg.Name {
		return nil
	}
	if r := plan.Refuse(claim, class); r != nil {
		n.cfg.Events.Event(source(n.cfg.Name), aboutClaim(claim), v1.EventTypeWarning, reasonNotMade, r.Message)
		return nil
	}
	if err := n.provision(ctx, claim, plan.Volume(claim, class, n.cfg.Name, n.dirs.path(plan.VolumeName(claim)))); err != nil {
		n.cfg.Events.Event(source(n.cfg.Name), aboutClaim(claim), v1.EventTypeWarning, reasonNotMade,
			fmt.Sprintf("node %s: %v; it is tried again", n.cfg.Name, err))
		return err
	}
	return nil
}

// provision makes the directory first, so that a PersistentVolume that exists can
// be used.
func (n *Node) provision(ctx context.Context, claim *v1.PersistentVolumeClaim, pv *v1.PersistentVolume) error {
	if n.known(pv.Name) {
		return nil
	}
	if err := n.dirs.create(pv.Name); err != nil {
		return fmt.Errorf("make the directory %s: %w", pv.Spec.Local.Path, err)
	}
	_, err := n.cfg.Client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create PersistentVolume %s: %w", pv.Name, err)
	}
	size := pv.Spec.Capacity[v1.ResourceStorage]
	n.cfg.Events.Event(source(n.cfg.Name), aboutClaim(claim), v1.EventTypeNormal, reasonMade,
		fmt.Sprintf("Successfully provisioned volume %s, the directory %s of node %s. Its size of %s is not enforced: it may take as much as is free on the disk of the node", pv.Name, pv.Spec.Local.Path, n.cfg.Name, size.String()))
	return nil
}

// reclaim does what there is to do about a PersistentVolume of this node.
func (n *Node) reclaim(ctx context.Context, pv *v1.PersistentVolume) error {
	if hostname, ok := plan.Ours(pv); !ok || hostname != n.cfg.Name {
		return nil
	}
	todo := plan.Reclaim(pv)
	err := n.apply(ctx, pv, todo)
	if err != nil {
		about := v1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolume", Name: pv.Name, UID: pv.UID}
		n.cfg.Events.Event(source(n.cfg.Name), about, v1.EventTypeWarning, reasonNotGone, fmt.Sprintf("node %s: %v; it is tried again", n.cfg.Name, err))
	}
	return err
}

func (n *Node) apply(ctx context.Context, pv *v1.PersistentVolume, todo plan.Action) error {
	if todo.RemoveDirectory {
		if path := n.dirs.path(pv.Name); pv.Spec.Local.Path != path {
			return fmt.Errorf("the directory %s was not made for it and is not removed; remove it yourself, and then the finalizer %s", pv.Spec.Local.Path, plan.Finalizer)
		}
		if err := n.dirs.remove(pv.Name); err != nil {
			return err
		}
	}
	volumes := n.cfg.Client.CoreV1().PersistentVolumes()
	if todo.Delete {
		err := volumes.Delete(ctx, pv.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pv.UID))})
		if ignoreNotFound(err) != nil {
			return fmt.Errorf("delete it: %w", err)
		}
	}
	if !todo.Release {
		return nil
	}
	have, err := volumes.Get(ctx, pv.Name, metav1.GetOptions{})
	if err != nil || have.UID != pv.UID {
		return ignoreNotFound(err)
	}
	have.Finalizers = slices.DeleteFunc(have.Finalizers, func(f string) bool { return f == plan.Finalizer })
	if _, err := volumes.Update(ctx, have, metav1.UpdateOptions{FieldManager: fieldManager}); ignoreNotFound(err) != nil {
		return fmt.Errorf("remove its finalizer: %w", err)
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
