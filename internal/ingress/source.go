package ingress

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Kind is a kind of object that a node's ingress is made from. They are in the order in which they are needed: each may refer
// to those before it.
type Kind uint8

// The kinds.
const (
	KindClass Kind = iota + 1 // IngressClass
	KindSecret
	KindConfigMap
	KindService
	KindSlice // EndpointSlice
	KindIngress

	lastKind = KindIngress
)

var kindNames = [...]string{KindClass: "IngressClass", KindSecret: "Secret", KindConfigMap: "ConfigMap", KindService: "Service", KindSlice: "EndpointSlice", KindIngress: "Ingress"}

// String returns the kind as the API writes it.
func (k Kind) String() string {
	if k >= KindClass && k <= lastKind {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Key names an object.
type Key struct {
	Kind            Kind
	Namespace, Name string
}

// String returns kind, namespace and name.
func (k Key) String() string { return k.Kind.String() + " " + k.Namespace + "/" + k.Name }

func (k Key) named() types.NamespacedName {
	return types.NamespacedName{Namespace: k.Namespace, Name: k.Name}
}

func keyOf(k Kind, n types.NamespacedName) Key {
	return Key{Kind: k, Namespace: n.Namespace, Name: n.Name}
}

// object is what the API's types have in common here.
type object interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
	GetResourceVersion() string
	GetNamespace() string
	GetName() string
}

var _ = []object{&networkingv1.IngressClass{}, &corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}, &networkingv1.Ingress{}}

// newObject returns an empty object of a kind, nil if there is no such kind.
func newObject(k Kind) object {
	switch k {
	case KindClass:
		return &networkingv1.IngressClass{}
	case KindSecret:
		return &corev1.Secret{}
	case KindConfigMap:
		return &corev1.ConfigMap{}
	case KindService:
		return &corev1.Service{}
	case KindSlice:
		return &discoveryv1.EndpointSlice{}
	case KindIngress:
		return &networkingv1.Ingress{}
	}
	return nil
}

// Change is an object as it is now. Object is nil if there is none any more; nobody may change it.
type Change struct {
	Key
	Object object
}

// Source delivers the objects of a cluster that a node's ingress is made from.
type Source interface {
	// Follow calls deliver with all objects that there are, and from then on with those that changed, until ctx ends. What is
	// delivered together belongs together: no state between is to be served. synced is set from the first call on after which
	// nothing is missing any more.
	Follow(ctx context.Context, deliver func(batch []Change, synced bool)) error
}
