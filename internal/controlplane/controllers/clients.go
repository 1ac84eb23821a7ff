package controllers

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/controller-manager/pkg/clientbuilder"

	"minato/internal/controlplane/compat"
)

// Connect returns a client configuration for one identity.
type Connect func(user string, groups ...string) *rest.Config

// clients gives each controller the identity of its ServiceAccount in
// kube-system, as kube-controller-manager does with tokens.
type clients struct {
	connect Connect
}

var _ clientbuilder.ControllerClientBuilder = clients{}

func (c clients) config(name string) *rest.Config {
	user := serviceaccount.MakeUsername(metav1.NamespaceSystem, name)
	cfg := c.connect(user, serviceaccount.MakeGroupNames(metav1.NamespaceSystem)...)
	return rest.AddUserAgent(cfg, name)
}

// Config implements clientbuilder.ControllerClientBuilder.
func (c clients) Config(name string) (*rest.Config, error) { return c.config(name), nil }

// ConfigOrDie implements clientbuilder.ControllerClientBuilder; it can't fail.
func (c clients) ConfigOrDie(name string) *rest.Config { return c.config(name) }

// Client implements clientbuilder.ControllerClientBuilder.
func (c clients) Client(name string) (kubernetes.Interface, error) {
	client, err := kubernetes.NewForConfig(c.config(name))
	if err != nil {
		return nil, fmt.Errorf("client for controller %s: %w", name, err)
	}
	return client, nil
}

// ClientOrDie implements clientbuilder.ControllerClientBuilder. An in-memory
// configuration has nothing a client could reject.
func (c clients) ClientOrDie(name string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(c.config(name))
}

// DiscoveryClient implements clientbuilder.ControllerClientBuilder.
func (c clients) DiscoveryClient(name string) (discovery.DiscoveryInterface, error) {
	client, err := discovery.NewDiscoveryClientForConfig(c.config(name))
	if err != nil {
		return nil, fmt.Errorf("discovery client for controller %s: %w", name, err)
	}
	return compat.Discovery{DiscoveryInterface: client}, nil
}

// DiscoveryClientOrDie implements clientbuilder.ControllerClientBuilder.
func (c clients) DiscoveryClientOrDie(name string) discovery.DiscoveryInterface {
	return compat.Discovery{DiscoveryInterface: discovery.NewDiscoveryClientForConfigOrDie(c.config(name))}
}
