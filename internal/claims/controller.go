package claims

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/claims/plan"
)

// isDefault is the annotation of the class that claims get which name none.
const isDefault = "storageclass.kubernetes.io/is-default-class"

// MadeName is a ConfigMap in kube-system that says that the StorageClass was made,
// so that it stays away once somebody has deleted it.
const MadeName = "minato-storage-classes"

const writeTimeout = 10 * time.Second

// ControllerConfig is what a Controller needs.
type ControllerConfig struct {
	Client    kubernetes.Interface
	Informers Informers
	Events    Events
	Logger    *slog.Logger
}

// Controller is what a cluster has once.
type Controller struct{ cfg ControllerConfig }

// NewController returns a Controller that Run starts.
func NewController(cfg ControllerConfig) (*Controller, error) {
	if cfg.Client == nil || cfg.Events == nil || !cfg.Informers.complete() {
		return nil, errors.New("claims of a cluster: Client, Events and Informers are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Informers.ask()
	return &Controller{cfg}, nil
}

// MakeClass makes the StorageClass once in a cluster's life. It tries until that
// is done, or ctx ends.
func (c *Controller) MakeClass(ctx context.Context) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		err := c.makeClass(ctx)
		if err == nil {
			return
		}
		if pause > time.Second && ctx.Err() == nil {
			c.cfg.Logger.Warn("The StorageClass could not be made, which is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (c *Controller) makeClass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	configMaps := c.cfg.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	_, err := configMaps.Get(ctx, MadeName, metav1.GetOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("read ConfigMap %s: %w", MadeName, err)
	}
	_, err = c.cfg.Client.StorageV1().StorageClasses().Create(ctx, Class(), metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create StorageClass %s: %w", plan.ClassName, err)
	}
	_, err = configMaps.Create(ctx, &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: MadeName},
		Data:       map[string]string{"made": plan.ClassName},
	}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ConfigMap %s: %w", MadeName, err)
	}
	return nil
}

// Class is the StorageClass of a new cluster, the default one.
func Class() *storagev1.StorageClass {
	policy, mode := v1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingWaitForFirstConsumer
	return &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: plan.ClassName, Annotations: map[string]string{isDefault: "true"}},
		Provisioner:       plan.Provisioner,
		ReclaimPolicy:     &policy,
		VolumeBindingMode: &mode,
	}
}

// Run tells of claims that no node has been selected for and never will be, until
// ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	q := newQueue(c.step, c.cfg.Logger)
	stop, read, err := q.follow(c.cfg.Informers.Claims.Informer(), aClaim)
	if err != nil {
		if ctx.Err() != nil {
			return nil // the informers have stopped before
		}
		return fmt.Errorf("follow claims: %w", err)
	}
	defer stop()
	if !cache.WaitForCacheSync(ctx.Done(), read, c.cfg.Informers.Classes.Informer().HasSynced) {
		return nil
	}
	q.run(ctx, controllerWorks)
	return nil
}

func (c *Controller) step(_ context.Context, k key) error {
	claim, class, err := c.cfg.Informers.wanted(k.name)
	if err != nil || claim == nil {
		return err
	}
	if node, ok := plan.Wanted(claim, class); !ok || node != "" {
		return nil
	}
	if r := plan.Refuse(claim, class); r != nil {
		c.cfg.Events.Event(source(""), aboutClaim(claim), v1.EventTypeWarning, reasonNotMade, r.Message)
	}
	return nil
}
