package compat

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"sigs.k8s.io/yaml"
)

// convert reads an object as the API server does, and returns it in version gv.
func convert(t *testing.T, text string, gv schema.GroupVersion) runtime.Object {
	t.Helper()
	obj, _, err := legacyscheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := legacyscheme.Scheme.ConvertToVersion(obj, gv)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// same compares the specs of two objects as text.
func same(t *testing.T, name string, got runtime.Object, want string) {
	t.Helper()
	data, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var a, b struct{ Spec map[string]any }
	if err := yaml.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	x, _ := yaml.Marshal(a)
	y, _ := yaml.Marshal(b)
	if string(x) != string(y) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, x, y)
	}
}

// TestConversion converts what old clients rely on to today's form and back. The
// form back has the default of pathType, as the old API servers added it.
func TestConversion(t *testing.T) {
	for name, test := range map[string]struct{ old, today, back string }{
		"backend with a number": {
			"spec: {backend: {serviceName: web, servicePort: 80}}",
			"spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}", "",
		},
		"backend with a name": {
			"spec: {backend: {serviceName: web, servicePort: http}}",
			"spec: {defaultBackend: {service: {name: web, port: {name: http}}}}", "",
		},
		// A number in quotes was a name, and a name without a letter is refused.
		"backend with a number in quotes": {
			`spec: {backend: {serviceName: web, servicePort: "80"}}`,
			`spec: {defaultBackend: {service: {name: web, port: {name: "80"}}}}`, "",
		},
		// The old versions always write the port.
		"backend with a resource": {
			"spec: {backend: {resource: {apiGroup: k8s.example.com, kind: Bucket, name: static}, servicePort: 0}}",
			"spec: {defaultBackend: {resource: {apiGroup: k8s.example.com, kind: Bucket, name: static}}}", "",
		},
		"path without a type": {
			"spec: {rules: [{host: a.example.com, http: {paths: [{path: /a, backend: {serviceName: web, servicePort: 80}}]}}]}",
			"spec: {rules: [{host: a.example.com, http: {paths: [{path: /a, pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]}",
			"spec: {rules: [{host: a.example.com, http: {paths: [{path: /a, pathType: ImplementationSpecific, backend: {serviceName: web, servicePort: 80}}]}}]}",
		},
		"path without a path": {
			"spec: {rules: [{http: {paths: [{pathType: Prefix, backend: {serviceName: web, servicePort: http}}]}}]}",
			"spec: {rules: [{http: {paths: [{pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}", "",
		},
		"rule without http, TLS and class": {
			"spec: {ingressClassName: nginx, rules: [{host: a.example.com}], tls: [{hosts: [a.example.com], secretName: s}]}",
			"spec: {ingressClassName: nginx, rules: [{host: a.example.com}], tls: [{hosts: [a.example.com], secretName: s}]}", "",
		},
	} {
		if test.back == "" {
			test.back = test.old
		}
		for _, r := range resources {
			if r.kind != "Ingress" {
				continue
			}
			header := "apiVersion: " + r.old.String() + "\nkind: Ingress\n"
			same(t, name+" from "+r.old.String(), convert(t, header+test.old, networkingv1.SchemeGroupVersion), test.today)
			same(t, name+" to "+r.old.String(), convert(t, "apiVersion: networking.k8s.io/v1\nkind: Ingress\n"+test.today, r.old), test.back)
		}
	}
	const class = "spec: {controller: example.com/c, parameters: {kind: P, name: p, scope: Cluster}}"
	same(t, "IngressClass", convert(t, "apiVersion: networking.k8s.io/v1beta1\nkind: IngressClass\n"+class, networkingv1.SchemeGroupVersion), class)
}
