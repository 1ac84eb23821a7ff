package apiserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apiextensionsinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
)

const (
	// definitionAnnotation has a hash of what a CustomResourceDefinition of ours
	// was written from.
	definitionAnnotation = "minato.local/definition"
	// definitionManager is who has written it, as managedFields say.
	definitionManager = "minato"
	// definitionPatience is how long definitions may take to be in force.
	definitionPatience = 10 * time.Second
	// definitionPause is the longest between two tries to write them.
	definitionPause = time.Minute
	// discoveryPause is between two looks whether clients learn of them.
	discoveryPause = 10 * time.Millisecond
)

// definitions keeps CustomResourceDefinitions that every cluster has. One that
// is missing is created, at any time. One that exists is brought up to date at
// the start, but only while nobody else has written its spec: whoever applies
// definitions of the same kinds, as MetalLB's manifests do, gets and keeps them.
type definitions struct {
	want    func() ([]*apiextensionsv1.CustomResourceDefinition, error)
	client  apiextensionsclient.CustomResourceDefinitionInterface
	known   apiextensionsinformers.CustomResourceDefinitionInformer
	log     *slog.Logger
	serve   func() // is called when they are in force
	groups  discovery.AggregatedDiscoveryInterface
	names   map[string]bool // of all definitions
	group   string          // of one of them
	found   bool            // discovery tells of the group
	changed chan struct{}
	gone    chan struct{}
}

// keepDefinitions keeps the Definitions until ctx ends. It closes served when
// they are in force, or seem not to come into force.
func (s *Server) keepDefinitions(ctx context.Context, known apiextensionsinformers.CustomResourceDefinitionInformer) {
	serve := sync.OnceFunc(func() { close(s.served) })
	defer serve()
	if s.cfg.Definitions == nil {
		return
	}
	client, err := apiextensionsclient.NewForConfigAndClient(s.loopback, s.http)
	if err != nil {
		s.cfg.Logger.Error("The kinds of load balancing cannot be served", "error", err)
		return
	}
	groups, err := discovery.NewDiscoveryClientForConfigAndClient(s.loopback, s.http)
	if err != nil {
		s.cfg.Logger.Error("The kinds of load balancing cannot be served", "error", err)
		return
	}
	d := &definitions{
		groups: groups,
		want:   s.cfg.Definitions, client: client.CustomResourceDefinitions(), known: known, log: s.cfg.Logger, serve: serve,
		changed: make(chan struct{}, 1), gone: make(chan struct{}, 1),
	}
	if err := d.keep(ctx); err != nil {
		s.cfg.Logger.Error("The kinds of load balancing cannot be served", "error", err)
	}
}

// keep writes the definitions and keeps them until ctx ends. They are not kept
// in memory: they are large, and seldom needed again.
func (d *definitions) keep(ctx context.Context) error {
	all, err := d.want()
	if err != nil {
		return err
	}
	d.names = make(map[string]bool, len(all))
	for _, crd := range all {
		d.names[crd.Name], d.group = true, crd.Spec.Group
	}
	registration, err := d.known.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { d.notify(obj, d.changed) },
		UpdateFunc: func(_, obj any) { d.notify(obj, d.changed) },
		DeleteFunc: func(obj any) { d.notify(obj, d.gone) },
	})
	if err != nil { // of an informer that has stopped
		return err
	}
	defer func() { _ = d.known.Informer().RemoveEventHandler(registration) }()

	late := time.AfterFunc(definitionPatience, d.serve)
	defer late.Stop()
	d.ensure(ctx, all)
	for {
		if d.inForce() && d.discovered(ctx) {
			d.serve()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.changed:
			continue
		case <-d.gone:
		}
		select { // they are often deleted together
		case <-ctx.Done():
			return nil
		case <-time.After(keepPause):
		}
		again, err := d.want()
		if err != nil {
			return err
		}
		d.ensure(ctx, again)
	}
}

// discovered returns true once clients that ask which groups there are learn of
// those of the definitions, which comes a moment after they are in force.
func (d *definitions) discovered(ctx context.Context) bool {
	if d.found {
		return true
	}
	err := wait.PollUntilContextTimeout(ctx, discoveryPause, definitionPatience, true, func(ctx context.Context) (bool, error) {
		groups, _, _, err := d.groups.GroupsAndMaybeResources()
		if err != nil {
			return false, nil //nolint:nilerr // it is asked again
		}
		d.found = slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == d.group })
		return d.found, nil
	})
	return err == nil
}

// notify tells of an object, if it is a definition of ours.
func (d *definitions) notify(obj any, to chan<- struct{}) {
	if deleted, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = deleted.Obj
	}
	if o, err := meta.Accessor(obj); err != nil || !d.names[o.GetName()] {
		return
	}
	select {
	case to <- struct{}{}:
	default:
	}
}

// ensure writes what is missing or old, and tries again until it is done or ctx
// ends.
func (d *definitions) ensure(ctx context.Context, all []*apiextensionsv1.CustomResourceDefinition) {
	for delay := keepPause; ; delay = min(2*delay, definitionPause) {
		err := d.write(ctx, all)
		if err == nil || ctx.Err() != nil {
			return
		}
		d.log.Warn("A CustomResourceDefinition of load balancing could not be written, will try again", "in", delay, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

// write does what ensure does, once.
func (d *definitions) write(ctx context.Context, all []*apiextensionsv1.CustomResourceDefinition) error {
	var g errgroup.Group
	g.SetLimit(bootstrapWriters)
	for _, crd := range all {
		g.Go(func() error {
			hash, err := definitionHash(crd)
			if err != nil {
				return err
			}
			metav1.SetMetaDataAnnotation(&crd.ObjectMeta, definitionAnnotation, hash)
			return d.writeOne(ctx, crd)
		})
	}
	return g.Wait()
}

func (d *definitions) writeOne(ctx context.Context, want *apiextensionsv1.CustomResourceDefinition) error {
	have, err := d.known.Lister().Get(want.Name)
	switch {
	case apierrors.IsNotFound(err):
		_, err := d.client.Create(ctx, want, metav1.CreateOptions{FieldManager: definitionManager})
		return create("CustomResourceDefinition "+want.Name, err)
	case err != nil:
		return fmt.Errorf("get CustomResourceDefinition %s: %w", want.Name, err)
	case have.DeletionTimestamp != nil:
		return nil // keep is told when it is gone
	case !written(have):
		d.log.Info("A CustomResourceDefinition of load balancing is somebody else's and is left as it is", "name", want.Name)
		return nil
	case have.Annotations[definitionAnnotation] == want.Annotations[definitionAnnotation]:
		return nil
	}
	next := have.DeepCopy()
	next.Spec = want.Spec
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, definitionAnnotation, want.Annotations[definitionAnnotation])
	_, err = d.client.Update(ctx, next, metav1.UpdateOptions{FieldManager: definitionManager})
	if err != nil {
		return fmt.Errorf("update CustomResourceDefinition %s: %w", want.Name, err)
	}
	return nil
}

// inForce tells whether all definitions are established.
func (d *definitions) inForce() bool {
	for name := range d.names {
		crd, err := d.known.Lister().Get(name)
		if err != nil || !established(crd) {
			return false
		}
	}
	return true
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// written tells whether the spec of a definition is as an earlier start has
// written it. The annotation alone does not say that: kubectl apply leaves
// annotations that it does not know.
func written(crd *apiextensionsv1.CustomResourceDefinition) bool {
	if crd.Annotations[definitionAnnotation] == "" {
		return false
	}
	for _, entry := range crd.ManagedFields {
		if entry.Manager == definitionManager || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(entry.FieldsV1.Raw, &fields); err != nil || fields["f:spec"] != nil {
			return false
		}
	}
	return true
}

// definitionHash changes when a definition does.
func definitionHash(crd *apiextensionsv1.CustomResourceDefinition) (string, error) {
	text, err := json.Marshal(crd.Spec)
	if err != nil {
		return "", fmt.Errorf("encode CustomResourceDefinition %s: %w", crd.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
