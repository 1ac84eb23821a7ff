package controllers

import (
	"maps"
	"reflect"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/core"
	corev1 "k8s.io/client-go/informers/core/v1"
)

// podInformers are the shared informers with Pods from another factory. The
// scheduler counts every Pod it sees against a node, so it must see none that
// have finished; everything else it can share.
type podInformers struct {
	informers.SharedInformerFactory
	own informers.SharedInformerFactory
}

func withOwnPods(shared, own informers.SharedInformerFactory) informers.SharedInformerFactory {
	return podInformers{shared, own}
}

// Core implements informers.SharedInformerFactory.
func (f podInformers) Core() core.Interface {
	return podCore{f.SharedInformerFactory.Core(), f.own}
}

// Start implements informers.SharedInformerFactory.
func (f podInformers) Start(stop <-chan struct{}) {
	f.SharedInformerFactory.Start(stop)
	f.own.Start(stop)
}

// WaitForCacheSync implements informers.SharedInformerFactory.
func (f podInformers) WaitForCacheSync(stop <-chan struct{}) map[reflect.Type]bool {
	synced := f.SharedInformerFactory.WaitForCacheSync(stop)
	maps.Copy(synced, f.own.WaitForCacheSync(stop))
	return synced
}

type podCore struct {
	core.Interface
	own informers.SharedInformerFactory
}

func (c podCore) V1() corev1.Interface { return podCoreV1{c.Interface.V1(), c.own} }

type podCoreV1 struct {
	corev1.Interface
	own informers.SharedInformerFactory
}

func (c podCoreV1) Pods() corev1.PodInformer { return c.own.Core().V1().Pods() }
