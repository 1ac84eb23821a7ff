package apiserver

import (
	"context"
	"fmt"

	genericapiserver "k8s.io/apiserver/pkg/server"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
)

// serviceCIDRHook is upstream's name for the hook that makes the ServiceCIDR.
const serviceCIDRHook = "start-kubernetes-service-cidr-controller"

// bootstrapTasks are the steps of the bootstrap with the hooks they replace.
func (s *Server) bootstrapTasks() []*task {
	s.namespaces = &task{name: "namespaces", run: s.ensureNamespaces}
	tasks := []*task{
		s.namespaces,
		{name: "roles", run: s.ensureRBAC, hook: rbacrest.PostStartHookName},
		{name: "service", run: s.ensureService, hook: serviceCIDRHook},
		{name: "flowcontrol", run: s.ensureFlowControl},
		{name: "priorityclasses", run: s.ensurePriorityClasses, hook: schedulingrest.PostStartHookName},
	}
	for _, t := range tasks {
		t.done = make(chan struct{})
	}
	return tasks
}

// replaceHooks registers hooks under the names of the replaced ones, so that
// /readyz lists them as it does everywhere else. While the chain was made,
// generic kept upstream's out.
func (s *Server) replaceHooks(c *chain, generic *genericapiserver.Config) error {
	for _, t := range s.tasks {
		if t.hook == "" {
			continue
		}
		generic.DisabledPostStartHooks.Delete(t.hook)
		err := c.aggregator.GenericAPIServer.AddPostStartHook(t.hook, func(hc genericapiserver.PostStartHookContext) error {
			select {
			case <-t.done:
			case <-hc.Done():
			}
			return nil // an error would end the whole process
		})
		if err != nil {
			return fmt.Errorf("add hook %s: %w", t.hook, err)
		}
	}
	controller, err := s.serviceCIDRController()
	if err != nil {
		return err
	}
	return c.aggregator.GenericAPIServer.AddPostStartHook("minato-service-cidr", func(hc genericapiserver.PostStartHookContext) error {
		go controller.Start(hc.Context)
		return nil
	})
}

// startInformers starts the informers of all three servers and waits for them.
// Upstream's hooks start them too and then look every tenth of a second whether
// they have synced; this way they find them synced.
func (s *Server) startInformers(ctx context.Context, c *chain) {
	stop := ctx.Done()
	s.informers.Start(stop)
	c.crds.Informers.Start(stop)
	c.aggregator.APIRegistrationInformers.Start(stop)
	s.informers.WaitForCacheSyncWithContext(ctx)
	c.crds.Informers.WaitForCacheSync(stop)
	c.aggregator.APIRegistrationInformers.WaitForCacheSync(stop)
}
