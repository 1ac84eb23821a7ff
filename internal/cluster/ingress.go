package cluster

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"minato/internal/controlplane/access"
	"minato/internal/ingress"
	"minato/internal/loadbalancer"
)

// assembleIngress puts together what a cluster has once for its Ingresses.
func (s *Server) assembleIngress() error {
	log := s.log.With("part", "ingress")
	client, err := kubernetes.NewForConfig(s.control.RESTConfig(access.UserIngress))
	if err != nil {
		return fmt.Errorf("connect %s: %w", access.UserIngress, err)
	}
	if s.ingressEvents, err = loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client, Logger: log}); err != nil {
		return err
	}
	s.ingress, err = ingress.NewController(ingress.ControllerConfig{
		Client: client, Ingresses: s.watch.Ingresses(), Classes: s.watch.IngressClasses(), Services: s.watch.Services(), Slices: s.watch.EndpointSlices(),
		Options: ingress.DefaultOptions(), Publish: types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name}, Own: true,
		Serves: s.servesIngress, Events: s.ingressEvents, Logger: log,
	})
	return err
}

// controlIngresses writes the status of Ingresses and the like, after the start.
func (s *Server) controlIngresses(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.started:
	}
	return s.ingress.Run(ctx)
}

// servesIngress tells whether every node's proxy serves an Ingress, those left out that are not there.
func (s *Server) servesIngress(name types.NamespacedName, uid types.UID) bool {
	for _, n := range s.running() {
		if m := n.current.Load(); m != nil && !m.ServesIngress(name, uid) {
			return false
		}
	}
	return true
}

// served passes on which Ingresses the nodes' proxies have begun to serve.
func (s *Server) served(names []types.NamespacedName) { s.ingress.Served(names) }

// found passes on what the nodes' proxies find about Ingresses.
func (s *Server) found(all []ingress.Findings) { s.ingress.Found(all) }
