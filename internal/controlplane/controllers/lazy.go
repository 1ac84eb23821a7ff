package controllers

import (
	"context"

	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// lazy is a controller that is built when the first object it works on appears.
// It is for controllers that cost much memory and that most clusters don't need.
type lazy struct {
	descriptor *app.ControllerDescriptor
	context    app.ControllerContext
	objects    cache.SharedIndexInformer
	appeared   chan struct{}
}

func newLazy(d *app.ControllerDescriptor, cc app.ControllerContext, objects cache.SharedIndexInformer) (*lazy, error) {
	l := &lazy{descriptor: d, context: cc, objects: objects, appeared: make(chan struct{}, 1)}
	_, err := objects.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) {
		select {
		case l.appeared <- struct{}{}:
		default:
		}
	}})
	return l, err
}

// Name implements app.Controller.
func (l *lazy) Name() string { return l.descriptor.Name() }

// Run implements app.Controller. A controller that cannot be built must not
// have all others started again, so Run goes on without it.
func (l *lazy) Run(ctx context.Context) {
	select {
	case <-l.appeared:
	case <-ctx.Done():
		return
	}
	c, err := l.descriptor.BuildController(ctx, l.context)
	switch {
	case err != nil:
		klog.FromContext(ctx).Error(err, "Building a controller failed", "controller", l.Name())
	case c != nil:
		c.Run(ctx)
		return
	}
	<-ctx.Done()
}
