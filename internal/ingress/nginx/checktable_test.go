package nginx

import (
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"minato/internal/ingress/table"
)

// What shows only beside other Ingresses is reported too. Manifests are as old as their place says.
func TestCheckBeside(t *testing.T) {
	class := "nginx"
	of := func(name, path string, pairs ...string) *networkingv1.Ingress {
		i := ingress(pairs...)
		i.Name, i.Spec.IngressClassName = name, &class
		kind, host := networkingv1.PathTypeImplementationSpecific, "a.test"
		if len(pairs) > 0 && pairs[0] == "use-regex" {
			host = "b.test"
		}
		i.Spec.Rules = []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 80}}}}},
		}}}}
		return i
	}
	old := of("old", "/old")
	old.Annotations = map[string]string{"ingress.kubernetes.io/rewrite-target": "/", "ingress.kubernetes.io/no-such-thing": "x"}
	objects := []runtime.Object{
		of("z-first", "/same"), of("a-second", "/same"), of("pattern", "/x(", "use-regex", "true"),
		of("canary", "/nobody", "canary", "true", "canary-weight", "10"), old, of("fine", "/fine"),
	}
	for _, partial := range []bool{true, false} {
		if !partial {
			objects = append(objects, &networkingv1.IngressClass{Spec: networkingv1.IngressClassSpec{Controller: table.ControllerNginx}})
			objects[len(objects)-1].(*networkingv1.IngressClass).Name = class
		}
		r, err := Check(objects, CheckConfig{Class: table.DefaultClassConfig(), Partial: partial})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]CheckedObject{}
		for _, o := range r.Ingresses {
			got[o.Name] = o
		}
		for _, c := range []struct {
			name, field string
			support     Support
			note        string
		}{
			{"a-second", "spec.rules[0].http.paths[0]", Refused, "is served by the older Ingress"},
			{"z-first", "spec.rules[0].http.paths[0]", "", ""},
			{"pattern", "spec.rules[0].http.paths[0]", Refused, "can't be read as a pattern"},
			{"canary", "spec.rules[0].http.paths[0]", map[bool]Support{true: Honoured, false: Refused}[partial], "takes no requests"},
			{"old", "ingress.kubernetes.io/rewrite-target", Refused, "write nginx.ingress.kubernetes.io/rewrite-target"},
			{"old", "ingress.kubernetes.io/no-such-thing", "", ""},
		} {
			var it Item
			for _, i := range got[c.name].Items {
				if i.Field == c.field || strings.HasPrefix(i.Field, c.field+".") {
					it = i
				}
			}
			if it.Support != c.support || !strings.Contains(strings.Join(it.Notes, "\n"), c.note) {
				t.Errorf("partial %v, %s: %+v, want %q and %q", partial, c.name, it, c.support, c.note)
			}
		}
	}
}
