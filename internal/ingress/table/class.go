package table

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// The controllers whose IngressClasses are served.
const (
	ControllerMinato = "minato.local/ingress"
	ControllerNginx  = "k8s.io/ingress-nginx"
)

// AnnotationClass is the annotation that named the class before spec.ingressClassName did.
const AnnotationClass = "kubernetes.io/ingress.class"

// ClassConfig says which Ingresses are served.
type ClassConfig struct {
	// Minato and Nginx are the controllers' names in spec.controller of an IngressClass (--controller-class for Nginx);
	// "" serves no IngressClass in that way.
	Minato, Nginx string
	// Annotation is the value of the old annotation that is served as class nginx without an IngressClass of that name
	// (--ingress-class); "" is none.
	Annotation string
	// WithoutClass serves Ingresses that name no class as class nginx, where no IngressClass is the default one
	// (--watch-ingress-without-class).
	WithoutClass bool
}

// DefaultClassConfig is what a cluster serves by itself.
func DefaultClassConfig() ClassConfig {
	return ClassConfig{Minato: ControllerMinato, Nginx: ControllerNginx, Annotation: "nginx"}
}

// Classify says whether an Ingress is served, with which class's defaults, and why, in a sentence. spec.ingressClassName
// counts first; with it, the old annotation is ignored. An Ingress with neither has the default class: that which was
// made last, and of these the first by name, where several are marked, as the API server's admission has it.
func Classify(ing *networkingv1.Ingress, classes []*networkingv1.IngressClass, cfg ClassConfig) (class Class, served bool, reason string) {
	old, annotated := ing.Annotations[AnnotationClass]
	if p := ing.Spec.IngressClassName; p != nil {
		ignored := ""
		if annotated && old != *p {
			ignored = fmt.Sprintf("; the annotation %s=%s is ignored because of spec.ingressClassName", AnnotationClass, old)
		}
		c := classNamed(classes, *p)
		if c == nil {
			return 0, false, fmt.Sprintf("spec.ingressClassName is %s, and there is no such IngressClass%s", *p, ignored)
		}
		class, served, reason = cfg.byController(c)
		return class, served, "spec.ingressClassName is " + *p + ", " + reason + ignored
	}
	if annotated && old != "" {
		said := "the annotation " + AnnotationClass + " is " + old + ", "
		if c := classNamed(classes, old); c != nil {
			if class, served, reason = cfg.byController(c); served || old != cfg.Annotation {
				return class, served, said + reason
			}
		}
		if cfg.Annotation != "" && old == cfg.Annotation {
			return ClassNginx, true, said + "which is served with ingress-nginx's defaults"
		}
		return 0, false, said + "and there is no such IngressClass"
	}
	c, others := defaultClass(classes)
	if c == nil {
		if cfg.WithoutClass {
			return ClassNginx, true, "it names no class, and Ingresses without class are served"
		}
		return 0, false, "it names no class, and no IngressClass is marked as the default one (" + networkingv1.AnnotationIsDefaultIngressClass + "); set spec.ingressClassName"
	}
	class, served, reason = cfg.byController(c)
	if !served && cfg.WithoutClass {
		return ClassNginx, true, "it names no class, and Ingresses without class are served"
	}
	reason = "it names no class, and the default one is " + c.Name + ", " + reason
	if len(others) > 0 {
		reason += "; it was made after " + strings.Join(others, ", ") + ", which are marked as default too"
	}
	return class, served, reason
}

func (cfg ClassConfig) byController(c *networkingv1.IngressClass) (Class, bool, string) {
	switch ctl := c.Spec.Controller; {
	case ctl == "":
		return 0, false, "whose IngressClass names no controller"
	case ctl == cfg.Minato:
		return ClassMinato, true, "whose controller is " + ctl
	case ctl == cfg.Nginx:
		return ClassNginx, true, "whose controller is " + ctl + ": it has ingress-nginx's defaults"
	default:
		return 0, false, "whose controller is " + ctl + ", which is not served here"
	}
}

func classNamed(classes []*networkingv1.IngressClass, name string) *networkingv1.IngressClass {
	for _, c := range classes {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// defaultClass returns the default class and the names of the others that are marked too.
func defaultClass(classes []*networkingv1.IngressClass) (*networkingv1.IngressClass, []string) {
	var marked []*networkingv1.IngressClass
	for _, c := range classes {
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			marked = append(marked, c)
		}
	}
	if len(marked) == 0 {
		return nil, nil
	}
	slices.SortFunc(marked, func(a, b *networkingv1.IngressClass) int {
		if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	var others []string
	for _, c := range marked[1:] {
		others = append(others, c.Name)
	}
	return marked[0], others
}
