package service

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// Informed are the objects of informers, which have other users too. The controllers of many nodes may share it.
type Informed struct {
	services, slices cache.SharedIndexInformer
}

// byService is an index of slices, by the Service that they name.
const byService = "minato.local/service"

// NewInformed makes an Informed. Whoever owns the informers starts them.
func NewInformed(services coreinformers.ServiceInformer, slices discoveryinformers.EndpointSliceInformer) (*Informed, error) {
	i := &Informed{services: services.Informer(), slices: slices.Informer()}
	err := i.slices.AddIndexers(cache.Indexers{byService: func(o any) ([]string, error) {
		s, ok := o.(*discoveryv1.EndpointSlice)
		if !ok || ServiceOf(s).Name == "" {
			return nil, nil
		}
		return []string{ServiceOf(s).String()}, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("index EndpointSlices by Service: %w", err)
	}
	return i, nil
}

// Follow implements Objects.
func (i *Informed) Follow(changed func(types.NamespacedName, time.Time)) ([]cache.DoneChecker, func(), error) {
	ofServices, err := i.services.AddEventHandler(handler(func(was, is *corev1.Service) {
		if is == nil {
			is = was
		}
		changed(types.NamespacedName{Namespace: is.Namespace, Name: is.Name}, time.Time{})
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("follow Services: %w", err)
	}
	ofSlices, err := i.slices.AddEventHandler(handler(func(was, is *discoveryv1.EndpointSlice) { sliceChanged(was, is, changed) }))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("follow EndpointSlices: %w", err), i.services.RemoveEventHandler(ofServices))
	}
	stop := func() {
		// This fails only if the informer has stopped.
		_, _ = i.services.RemoveEventHandler(ofServices), i.slices.RemoveEventHandler(ofSlices)
	}
	return []cache.DoneChecker{ofServices.HasSyncedChecker(), ofSlices.HasSyncedChecker()}, stop, nil
}

// sliceChanged calls changed for the Service that a slice names, and for the one that it named before.
func sliceChanged(was, is *discoveryv1.EndpointSlice, changed func(types.NamespacedName, time.Time)) {
	var before, now types.NamespacedName
	var triggered time.Time
	if is != nil {
		now, triggered = ServiceOf(is), Triggered(is)
	}
	if was != nil {
		before = ServiceOf(was)
	}
	if before.Name != "" && before != now {
		changed(before, time.Time{})
	}
	if now.Name == "" {
		return
	}
	if before == now && triggered.Equal(Triggered(was)) {
		triggered = time.Time{} // the same change was reported before
	}
	changed(now, triggered)
}

// Service implements Objects.
func (i *Informed) Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	o, _, _ := i.services.GetIndexer().GetByKey(key.String()) // a key of this kind makes no error
	service, _ := o.(*corev1.Service)
	all, _ := i.slices.GetIndexer().ByIndex(byService, key.String()) // nor does an index that is there
	slices := make([]*discoveryv1.EndpointSlice, 0, len(all))
	for _, o := range all {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			slices = append(slices, s)
		}
	}
	return service, slices
}

// Names implements Objects.
func (i *Informed) Names() []types.NamespacedName {
	all := i.services.GetIndexer().List()
	out := make([]types.NamespacedName, 0, len(all))
	for _, o := range all {
		if s, ok := o.(*corev1.Service); ok {
			out = append(out, types.NamespacedName{Namespace: s.Namespace, Name: s.Name})
		}
	}
	return out
}

// object is what the kinds that are followed have in common.
type object interface {
	*corev1.Service | *discoveryv1.EndpointSlice | *corev1.Node | *corev1.Pod
}

// handler calls changed with an object before and after a change, nil if there was or is none.
func handler[T object](changed func(was, is T)) cache.ResourceEventHandler {
	tell := func(before, after any) {
		// The informer may have missed a deletion and know only an earlier state.
		if gone, ok := before.(cache.DeletedFinalStateUnknown); ok {
			before = gone.Obj
		}
		was, _ := before.(T)
		is, _ := after.(T)
		if was != nil || is != nil {
			changed(was, is)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { tell(nil, o) },
		UpdateFunc: tell,
		DeleteFunc: func(o any) { tell(o, nil) },
	}
}
