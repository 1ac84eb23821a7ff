package cluster

import (
	"fmt"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer"
)

// assembleBalancer puts together what gives Services of type LoadBalancer their
// addresses.
func (s *Server) assembleBalancer() error {
	log := s.log.With("part", "load-balancer")
	connection := s.control.RESTConfig(access.UserLoadBalancer)
	client, err := kubernetes.NewForConfig(connection)
	if err != nil {
		return fmt.Errorf("connect %s: %w", access.UserLoadBalancer, err)
	}
	objects, err := dynamic.NewForConfig(connection)
	if err != nil {
		return fmt.Errorf("connect %s: %w", access.UserLoadBalancer, err)
	}
	if s.balancerEvents, err = loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client, Pressure: s.watch.BalancingPressure(), Logger: log}); err != nil {
		return err
	}
	s.balancer, err = loadbalancer.New(loadbalancer.Config{
		Client: client, Dynamic: objects, Services: s.watch.Services(), Namespaces: s.watch.Namespaces(),
		Settings: s.watch.Balancing(), Events: s.balancerEvents, Pressure: s.watch.BalancingPressure(), Logger: log,
	})
	return err
}

// addressRoutes keeps the machine's routes to addresses beyond the LAN.
func (s *Server) addressRoutes() *addressRoutes {
	return &addressRoutes{
		link: s.paths.Bridge(), lan: s.cfg.LAN, sources: s.cfg.Gateways(), services: s.watch.Services().Informer(),
		serves: loadbalancer.Serves, settings: s.watch.Balancing(), log: s.log.With("part", "load-balancer"),
	}
}
