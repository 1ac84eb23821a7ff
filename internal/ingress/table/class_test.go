package table

import (
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func class(name, controller string, isDefault bool, second int64) *networkingv1.IngressClass {
	c := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(second, 0))}}
	c.Spec.Controller = controller
	if isDefault {
		c.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	}
	return c
}

// Sources: IngressSpec.ingressClassName, the DefaultIngressClass admission, and ingress-nginx's flags.
func TestClassify(t *testing.T) {
	minato, nginx := class("minato", ControllerMinato, true, 1), class("nginx", ControllerNginx, false, 1)
	other := class("other", "example.com/other", false, 1)
	all := []*networkingv1.IngressClass{minato, nginx, other}
	std := DefaultClassConfig()
	for _, tt := range []struct {
		name, class, annotation string
		classes                 []*networkingv1.IngressClass
		cfg                     ClassConfig
		want                    Class
		served                  bool
		reason                  string
	}{
		{"by name", "minato", "", all, std, ClassMinato, true, "spec.ingressClassName is minato"},
		{"by name, nginx", "nginx", "", all, std, ClassNginx, true, "ingress-nginx's defaults"},
		{"another controller", "other", "", all, std, 0, false, "example.com/other, which is not served here"},
		{"no such class", "gone", "", all, std, 0, false, "there is no such IngressClass"},
		{"no such class, with a default one", "nginx", "", nil, std, 0, false, "there is no such IngressClass"},
		{"old annotation", "", "nginx", all, std, ClassNginx, true, "kubernetes.io/ingress.class is nginx"},
		{"old annotation without the class", "", "nginx", nil, std, ClassNginx, true, "ingress-nginx's defaults"},
		{"old annotation with our class", "", "minato", all, std, ClassMinato, true, "minato.local/ingress"},
		{"old annotation of another one", "", "traefik", all, std, 0, false, "there is no such IngressClass"},
		{"the name wins over the annotation", "minato", "nginx", all, std, ClassMinato, true, "is ignored because of spec.ingressClassName"},
		{"the name wins, though not served", "other", "nginx", all, std, 0, false, "is ignored"},
		{"default", "", "", all, std, ClassMinato, true, "the default one is minato"},
		{"default of another controller", "", "", []*networkingv1.IngressClass{class("x", "example.com/x", true, 1), nginx}, std, 0, false, "not served here"},
		{"no default", "", "", []*networkingv1.IngressClass{nginx}, std, 0, false, "no IngressClass is marked"},
		{"two defaults: the newest", "", "", []*networkingv1.IngressClass{minato, class("young", ControllerNginx, true, 2)}, std, ClassNginx, true, "made after minato"},
		{"two defaults of one second: by name", "", "", []*networkingv1.IngressClass{class("b", ControllerNginx, true, 1), class("a", ControllerMinato, true, 1)}, std, ClassMinato, true, "default one is a"},
		{"without class", "", "", []*networkingv1.IngressClass{nginx}, ClassConfig{Nginx: ControllerNginx, WithoutClass: true}, ClassNginx, true, "names no class"},
		{"own names", "internal", "", []*networkingv1.IngressClass{class("internal", "acme.io/nginx", false, 1)}, ClassConfig{Nginx: "acme.io/nginx", Annotation: "internal"}, ClassNginx, true, "acme.io/nginx"},
		{"own names: not ours any more", "nginx", "", all, ClassConfig{Nginx: "acme.io/nginx", Annotation: "internal"}, 0, false, "not served here"},
		{"own annotation", "", "internal", nil, ClassConfig{Annotation: "internal"}, ClassNginx, true, "internal"},
		{"annotation without that flag", "", "nginx", nil, ClassConfig{Annotation: "internal"}, 0, false, "no such"},
		{"a class without controller", "x", "", []*networkingv1.IngressClass{class("x", "", false, 1)}, ClassConfig{Nginx: ControllerNginx}, 0, false, "names no controller"},
	} {
		i := &networkingv1.Ingress{}
		if tt.class != "" {
			i.Spec.IngressClassName = &tt.class
		}
		if tt.annotation != "" {
			i.Annotations = map[string]string{AnnotationClass: tt.annotation}
		}
		got, served, reason := Classify(i, tt.classes, tt.cfg)
		if got != tt.want || served != tt.served || !strings.Contains(reason, tt.reason) {
			t.Errorf("%s: %v %v, %s", tt.name, got, served, reason)
		}
	}
}
