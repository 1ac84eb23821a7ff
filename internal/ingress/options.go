package ingress

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// Options say which Ingresses are served, and where the settings are. The JSON form goes to a node's proxy.
type Options struct {
	// Controllers are the values of an IngressClass's spec.controller that are served.
	Controllers map[string]table.Class `json:"controllers"`
	// LegacyClasses are the values of the annotation kubernetes.io/ingress.class that are served.
	LegacyClasses map[string]table.Class `json:"legacyClasses"`
	// WithoutClass has Ingresses served that have no class, as that class; without it, only where a class that is served is
	// the cluster's default class (--watch-ingress-without-class).
	WithoutClass *table.Class `json:"withoutClass,omitempty"`
	// Namespace, if not empty, is the only one whose Ingresses are served (--watch-namespace).
	Namespace string `json:"namespace,omitempty"`
	// Prefix is that of the annotations; empty is ingress-nginx's (--annotations-prefix).
	Prefix string `json:"prefix,omitempty"`
	// Settings are ConfigMaps of which the first that exists has the settings. TCP and UDP are those with streams.
	Settings []types.NamespacedName `json:"settings,omitempty"`
	TCP      []types.NamespacedName `json:"tcp,omitempty"`
	UDP      []types.NamespacedName `json:"udp,omitempty"`
	// DefaultCertificate is a Secret (--default-ssl-certificate), DefaultBackend a Service (--default-backend-service).
	DefaultCertificate types.NamespacedName `json:"defaultCertificate,omitzero"`
	DefaultBackend     types.NamespacedName `json:"defaultBackend,omitzero"`
	Passthrough        bool                 `json:"passthrough,omitempty"` // --enable-ssl-passthrough
	NoCatchAll         bool                 `json:"noCatchAll,omitempty"`  // --disable-catch-all
}

// Names of what a cluster of our own has.
const (
	// Namespace and Name are those of the Service through which clients come, and of the ConfigMap with settings.
	Namespace = "kube-system"
	Name      = "minato-ingress"
	// ControllerMinato and ControllerNginx are the controllers of the two IngressClasses.
	ControllerMinato = "minato.local/ingress"
	ControllerNginx  = "k8s.io/ingress-nginx"
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
		Controllers:   map[string]table.Class{ControllerMinato: table.ClassMinato, ControllerNginx: table.ClassNginx},
		LegacyClasses: map[string]table.Class{ClassMinato: table.ClassMinato, ClassNginx: table.ClassNginx},
		Settings:      named(Name, "ingress-nginx-controller"),
		TCP:           named(Name+"-tcp", "tcp-services"),
		UDP:           named(Name+"-udp", "udp-services"),
		// Passthrough takes effect only for hosts that ask for it.
		Passthrough: true,
	}
}

// settingNames are the ConfigMaps with settings and streams.
func (o *Options) settingNames() []types.NamespacedName {
	out := append([]types.NamespacedName(nil), o.Settings...)
	return append(append(out, o.TCP...), o.UDP...)
}

// annotationClass is the old way to give an Ingress a class.
const annotationClass = "kubernetes.io/ingress.class"

// classOf tells whether an Ingress is ours, and its class.
func (o *Options) classOf(ing *networkingv1.Ingress, classes []*networkingv1.IngressClass) (table.Class, bool) {
	if o.Namespace != "" && ing.Namespace != o.Namespace {
		return 0, false
	}
	if name := ing.Spec.IngressClassName; name != nil {
		for _, c := range classes {
			if c.Name == *name {
				class, ok := o.Controllers[c.Spec.Controller]
				return class, ok
			}
		}
		return 0, false
	}
	if name, has := ing.Annotations[annotationClass]; has && name != "" {
		class, ok := o.LegacyClasses[name]
		return class, ok
	}
	if o.WithoutClass != nil {
		return *o.WithoutClass, true
	}
	for _, c := range classes {
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			if class, ok := o.Controllers[c.Spec.Controller]; ok {
				return class, true
			}
		}
	}
	return 0, false
}
