package ingress

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

// Options say which Ingresses are served, and where the settings are. The JSON form goes to a node's proxy.
type Options struct {
	Classes table.ClassConfig `json:"classes"`
	// Namespace, if not empty, is the only one whose Ingresses are served (--watch-namespace).
	Namespace string      `json:"namespace,omitempty"`
	Flags     nginx.Flags `json:"flags"`
	// Settings are ConfigMaps of which the first that exists has the settings. TCP and UDP are those with streams.
	Settings []types.NamespacedName `json:"settings,omitempty"`
	TCP      []types.NamespacedName `json:"tcp,omitempty"`
	UDP      []types.NamespacedName `json:"udp,omitempty"`
	// NoExternalNames has Services of type ExternalName lead nowhere (--disable-svc-external-name).
	NoExternalNames bool `json:"noExternalNames,omitempty"`
}

// Names of what a cluster of our own has.
const (
	// Namespace and Name are those of the Service through which clients come, and of the ConfigMap with settings.
	Namespace = "kube-system"
	Name      = "minato-ingress"
	// ClassMinato and ClassNginx are the names of the IngressClasses, the first of which is the default.
	ClassMinato = "minato"
	ClassNginx  = "nginx"
	// namespaceNginx is where ingress-nginx has its ConfigMaps.
	namespaceNginx = "ingress-nginx"
)

// DefaultOptions are those of a cluster of our own.
func DefaultOptions() Options {
	named := func(ours, theirs string) []types.NamespacedName {
		return []types.NamespacedName{{Namespace: Namespace, Name: ours}, {Namespace: namespaceNginx, Name: theirs}}
	}
	return Options{
		Classes:  table.DefaultClassConfig(),
		Flags:    nginx.Flags{Passthrough: true}, // it takes effect only for hosts that ask for it
		Settings: named(Name, "ingress-nginx-controller"),
		TCP:      named(Name+"-tcp", "tcp-services"),
		UDP:      named(Name+"-udp", "udp-services"),
	}
}

// settingNames are the ConfigMaps with settings and streams.
func (o *Options) settingNames() []types.NamespacedName {
	out := append([]types.NamespacedName(nil), o.Settings...)
	return append(append(out, o.TCP...), o.UDP...)
}

// classOf tells whether an Ingress is ours, with its class, and why.
func (o *Options) classOf(ing *networkingv1.Ingress, classes []*networkingv1.IngressClass) (class table.Class, ours bool, reason string) {
	if o.Namespace != "" && ing.Namespace != o.Namespace {
		return 0, false, "only Ingresses of namespace " + o.Namespace + " are served"
	}
	return table.Classify(ing, classes, o.Classes)
}
