package compat

import (
	"context"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/discovery"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/controlplane" // registers all groups
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
)

// storage is one resource's storage, told apart by its address.
type storage struct {
	rest.Storage
	name string
}

func group(name string, versions map[string]map[string]rest.Storage) *genericapiserver.APIGroupInfo {
	info := genericapiserver.NewDefaultAPIGroupInfo(name, legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
	info.VersionedResourcesStorageMap = versions
	return &info
}

// todayGroups has the groups that today's Kubernetes serves, with what Extend needs of
// them.
func todayGroups() []*genericapiserver.APIGroupInfo {
	var groups []*genericapiserver.APIGroupInfo
	for _, r := range resources {
		g, ok := findGroup(groups, r.today.Group)
		if !ok {
			g = group(r.today.Group, map[string]map[string]rest.Storage{})
			groups = append(groups, g)
		}
		served := g.VersionedResourcesStorageMap[r.today.Version]
		if served == nil {
			served = map[string]rest.Storage{}
			g.VersionedResourcesStorageMap[r.today.Version] = served
		}
		for _, name := range append([]string{""}, r.subresources...) {
			name = strings.TrimSuffix(r.name+"/"+name, "/")
			served[name] = &storage{name: name}
		}
	}
	return groups
}

func TestExtend(t *testing.T) {
	given := todayGroups()
	networkingGroup, _ := findGroup(given, "networking.k8s.io")
	networkingGroup.VersionedResourcesStorageMap["v1beta1"] = map[string]rest.Storage{"ipaddresses": &storage{name: "ipaddresses"}}
	groups, err := Extend(given)
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != len(given)+1 || groups[len(given)].PrioritizedVersions[0] != extensionsv1beta1.SchemeGroupVersion {
		t.Fatalf("the groups are %v; want today's and then extensions", groups)
	}
	for _, r := range resources {
		old, _ := findGroup(groups, r.old.Group)
		today, _ := findGroup(groups, r.today.Group)
		if today.PrioritizedVersions[0] != r.today && r.today.Group != "autoscaling" {
			t.Errorf("%s comes before %s", today.PrioritizedVersions[0], r.today)
		}
		for _, name := range append([]string{""}, r.subresources...) {
			name = strings.TrimSuffix(r.name+"/"+name, "/")
			if s := old.VersionedResourcesStorageMap[r.old.Version][name]; s == nil || !strings.HasSuffix(name, "/scale") && s != today.VersionedResourcesStorageMap[r.today.Version][name] {
				t.Errorf("%s of %s has a storage of its own: %v", name, r.old, s)
			}
		}
	}
	if networkingGroup.VersionedResourcesStorageMap["v1beta1"]["ipaddresses"] == nil {
		t.Error("what today's Kubernetes serves in an old version is gone")
	}
	delete(networkingGroup.VersionedResourcesStorageMap["v1"], "ingresses/status")
	for name, groups := range map[string][]*genericapiserver.APIGroupInfo{
		"group networking.k8s.io is not served":                  {},
		"ingresses/status of networking.k8s.io/v1 is not served": {networkingGroup},
	} {
		if _, err := Extend(groups); err == nil || !strings.HasSuffix(err.Error(), name) {
			t.Errorf("got %v, want an error that ends in %q", err, name)
		}
	}
}

func TestPriorities(t *testing.T) {
	networking := controlplaneapiserver.APIServicePriority{Group: 17200, Version: 15}
	all := map[schema.GroupVersion]controlplaneapiserver.APIServicePriority{networkingv1.SchemeGroupVersion: networking}
	AddPriorities(all)
	for gv, want := range map[schema.GroupVersion]controlplaneapiserver.APIServicePriority{
		networkingv1.SchemeGroupVersion:      networking,
		networkingv1beta1.SchemeGroupVersion: {Group: 17200, Version: 9},
		extensionsv1beta1.SchemeGroupVersion: {Group: 9000, Version: 9},
	} {
		if all[gv] != want {
			t.Errorf("%s has %v, want %v", gv, all[gv], want)
		}
	}
}

func service(name string, port int32, portName string) networking.IngressBackend {
	return networking.IngressBackend{Service: &networking.IngressServiceBackend{Name: name, Port: networking.ServiceBackendPort{Number: port, Name: portName}}}
}

func paths(paths ...networking.HTTPIngressPath) networking.IngressRule {
	return networking.IngressRule{IngressRuleValue: networking.IngressRuleValue{HTTP: &networking.HTTPIngressRuleValue{Paths: paths}}}
}

func TestWarnings(t *testing.T) {
	extensions := extensionsv1beta1.SchemeGroupVersion.WithResource("ingresses")
	beta := networkingv1beta1.SchemeGroupVersion.WithResource("ingresses")
	specific, exact := networking.PathTypeImplementationSpecific, networking.PathTypeExact
	apiGroup := "k8s.example.com"
	backend := service("default-app", 80, "")
	for name, test := range map[string]struct {
		resource schema.GroupVersionResource
		spec     networking.IngressSpec
		want     []string
	}{
		"today's version": {networkingv1.SchemeGroupVersion.WithResource("ingresses"), networking.IngressSpec{DefaultBackend: &backend}, nil},
		"nothing differs": {extensions, networking.IngressSpec{Rules: []networking.IngressRule{{Host: "a.example.com"}}},
			[]string{"today's form: apiVersion: networking.k8s.io/v1, and all else as it is"}},
		"spec.backend": {extensions, networking.IngressSpec{DefaultBackend: &backend},
			[]string{"today's form: spec.defaultBackend: {service: {name: default-app, port: {number: 80}}} (was spec.backend)"}},
		"paths": {beta, networking.IngressSpec{Rules: []networking.IngressRule{
			paths(networking.HTTPIngressPath{Path: "/a", PathType: &specific, Backend: service("my-app-a", 4200, "")}, networking.HTTPIngressPath{Path: "/b", PathType: &exact, Backend: service("my-app-b", 0, "http")}),
			{Host: "b.example.com"},
			paths(networking.HTTPIngressPath{PathType: &specific, Backend: service("default-app", 80, "")}),
		}}, []string{"today's form: " +
			"spec.rules[0].http.paths[0]: {path: /a, pathType: ImplementationSpecific, backend: {service: {name: my-app-a, port: {number: 4200}}}}; " +
			"spec.rules[0].http.paths[1]: {path: /b, pathType: Exact, backend: {service: {name: my-app-b, port: {name: http}}}}; " +
			"spec.rules[2].http.paths[0]: {pathType: ImplementationSpecific, backend: {service: {name: default-app, port: {number: 80}}}}"}},
		"strings that YAML would take for something else": {beta, networking.IngressSpec{Rules: []networking.IngressRule{
			paths(networking.HTTPIngressPath{Path: `/a{2},"b"`, PathType: &exact, Backend: service("80", 0, "1e3")}, networking.HTTPIngressPath{Path: "/ナット/*", PathType: &exact, Backend: service("no", 0, "true")}),
		}}, []string{`today's form: ` +
			`spec.rules[0].http.paths[0]: {path: "/a{2},\"b\"", pathType: Exact, backend: {service: {name: "80", port: {name: "1e3"}}}}; ` +
			`spec.rules[0].http.paths[1]: {path: "/ナット/*", pathType: Exact, backend: {service: {name: "no", port: {name: "true"}}}}`}},
		"a resource, and a backend that is neither": {beta, networking.IngressSpec{
			DefaultBackend: &networking.IngressBackend{Resource: &core.TypedLocalObjectReference{APIGroup: &apiGroup, Kind: "Bucket", Name: "static"}},
			Rules:          []networking.IngressRule{paths(networking.HTTPIngressPath{Path: "/"})},
		}, []string{
			"today's form: spec.defaultBackend: {resource: {apiGroup: k8s.example.com, kind: Bucket, name: static}} (was spec.backend)",
			"today's form: spec.rules[0].http.paths[0]: {path: /, backend: {}}",
		}},
	} {
		got := warningsOf(test.resource, &networking.Ingress{Spec: test.spec})
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
	class := networkingv1beta1.SchemeGroupVersion.WithResource("ingressclasses")
	if got := warningsOf(class, &networking.IngressClass{}); !slices.Equal(got, []string{"today's form: apiVersion: networking.k8s.io/v1, and all else as it is"}) {
		t.Errorf("IngressClass: got %q", got)
	}
}

// TestWarningsAreShort checks that the API server has no reason to cut them.
func TestWarningsAreShort(t *testing.T) {
	specific := networking.PathTypeImplementationSpecific
	backend := service(strings.Repeat("s", 63), 0, "a-port-name")
	var all []networking.HTTPIngressPath
	for range 100 {
		all = append(all, networking.HTTPIngressPath{Path: "/" + strings.Repeat("p", 60), PathType: &specific, Backend: backend})
	}
	got := warningsOf(extensionsv1beta1.SchemeGroupVersion.WithResource("ingresses"), &networking.Ingress{Spec: networking.IngressSpec{DefaultBackend: &backend, Rules: []networking.IngressRule{paths(all...)}}})
	total := 0
	for _, s := range got {
		total += len(s)
	}
	if len(got) != 2 || total > 1000 || strings.Count(got[1], "pathType") != 2 || !strings.HasSuffix(got[1], "; and 98 more alike") {
		t.Errorf("the warnings have %d characters: %q", total, got)
	}
}

func TestWarningsAreCut(t *testing.T) {
	spec := networking.IngressSpec{Rules: []networking.IngressRule{paths(networking.HTTPIngressPath{Path: "/" + strings.Repeat("長", 5000), Backend: service("a", 1, "")})}}
	got := warningsOf(extensionsv1beta1.SchemeGroupVersion.WithResource("ingresses"), &networking.Ingress{Spec: spec})
	if len(got) != 1 || utf8.RuneCountInString(got[0]) != longest || !strings.HasSuffix(got[0], "長…") {
		t.Errorf("a path of 5,000 characters gives %q", got)
	}
}

// plugin notes what it is asked about.
type plugin struct {
	*admission.Handler
	seen []admission.Attributes
}

type mutating struct{ *plugin }

func (p mutating) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	p.seen = append(p.seen, a)
	return nil
}

type validating struct{ *plugin }

func (p validating) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	p.seen = append(p.seen, a)
	return nil
}

type both struct {
	mutating
	validating
}

func (both) Handles(o admission.Operation) bool { return o == admission.Create }

func TestDecorator(t *testing.T) {
	ctx := context.Background()
	attributes := func(gv schema.GroupVersion, resource, kind, subresource string) admission.Attributes {
		k := gv.WithKind(kind)
		if subresource == "scale" {
			k = schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
		}
		return admission.NewAttributesRecord(nil, nil, k, "ns", "name", gv.WithResource(resource), subresource, admission.Create, nil, false, nil)
	}
	for _, test := range []struct {
		plugin string
		in     admission.Attributes
		kind   string
		want   schema.GroupVersionResource
	}{
		{"DefaultIngressClass", attributes(extensionsv1beta1.SchemeGroupVersion, "ingresses", "Ingress", ""), "networking.k8s.io/v1, Kind=Ingress", networkingv1.SchemeGroupVersion.WithResource("ingresses")},
		{"ResourceQuota", attributes(networkingv1beta1.SchemeGroupVersion, "ingressclasses", "IngressClass", ""), "networking.k8s.io/v1, Kind=IngressClass", networkingv1.SchemeGroupVersion.WithResource("ingressclasses")},
		{"ResourceQuota", attributes(extensionsv1beta1.SchemeGroupVersion, "ingresses", "Ingress", "scale"), "autoscaling/v1, Kind=Scale", networkingv1.SchemeGroupVersion.WithResource("ingresses")},
		{"ResourceQuota", attributes(networkingv1beta1.SchemeGroupVersion, "ipaddresses", "IPAddress", ""), "networking.k8s.io/v1beta1, Kind=IPAddress", networkingv1beta1.SchemeGroupVersion.WithResource("ipaddresses")},
		{"ValidatingAdmissionWebhook", attributes(extensionsv1beta1.SchemeGroupVersion, "ingresses", "Ingress", ""), "extensions/v1beta1, Kind=Ingress", extensionsv1beta1.SchemeGroupVersion.WithResource("ingresses")},
		{"MutatingAdmissionPolicy", attributes(extensionsv1beta1.SchemeGroupVersion, "ingresses", "Ingress", ""), "extensions/v1beta1, Kind=Ingress", extensionsv1beta1.SchemeGroupVersion.WithResource("ingresses")},
		{warningPlugin, attributes(extensionsv1beta1.SchemeGroupVersion, "ingresses", "Ingress", ""), "extensions/v1beta1, Kind=Ingress", extensionsv1beta1.SchemeGroupVersion.WithResource("ingresses")},
	} {
		p := &plugin{Handler: admission.NewHandler(admission.Create)}
		for name, handler := range map[string]admission.Interface{"mutating": mutating{p}, "validating": validating{p}, "both": both{mutating{p}, validating{p}}} {
			p.seen = nil
			decorated := Decorator{}.Decorate(handler, test.plugin)
			if !decorated.Handles(admission.Create) || decorated.Handles(admission.Delete) {
				t.Errorf("%s plugin %s handles other operations when it is decorated", name, test.plugin)
			}
			m, mutates := decorated.(admission.MutationInterface)
			v, validates := decorated.(admission.ValidationInterface)
			if mutates != (name != "validating") || validates != (name != "mutating") {
				t.Fatalf("decorated, %s plugin %s mutates: %v, validates: %v", name, test.plugin, mutates, validates)
			}
			if mutates {
				_ = m.Admit(ctx, test.in, nil)
			}
			if validates {
				_ = v.Validate(ctx, test.in, nil)
			}
			for _, a := range p.seen {
				if a.GetResource() != test.want || a.GetKind().String() != test.kind || a.GetName() != "name" {
					t.Errorf("%s plugin %s sees %s %s of %v, want %s %s", name, test.plugin, a.GetResource(), a.GetKind(), test.in.GetResource(), test.want, test.kind)
				}
			}
			if len(p.seen) == 0 {
				t.Errorf("%s plugin %s is not asked", name, test.plugin)
			}
		}
	}
	neither := admission.NewHandler(admission.Create)
	if (Decorator{}).Decorate(neither, "Other") != admission.Interface(neither) {
		t.Error("a plugin that neither mutates nor validates was decorated")
	}
}

// preferred is a discovery client with fixed answers.
type preferred struct{ discovery.DiscoveryInterface }

func (preferred) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	return []*metav1.APIResourceList{
		{GroupVersion: "networking.k8s.io/v1", APIResources: []metav1.APIResource{{Name: "ingresses"}, {Name: "networkpolicies"}}},
		{GroupVersion: "networking.k8s.io/v1beta1", APIResources: []metav1.APIResource{{Name: "ingresses"}}},
		{GroupVersion: "extensions/v1beta1", APIResources: []metav1.APIResource{{Name: "ingresses"}}},
		{GroupVersion: "extensions/v1beta1", APIResources: []metav1.APIResource{{Name: "ingresses"}, {Name: "others"}}},
		{GroupVersion: "a/b/c", APIResources: []metav1.APIResource{{Name: "ingresses"}}},
	}, context.Canceled
}

func (p preferred) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	return p.ServerPreferredResources()
}

func TestDiscovery(t *testing.T) {
	for _, find := range []func() ([]*metav1.APIResourceList, error){Discovery{preferred{}}.ServerPreferredResources, Discovery{preferred{}}.ServerPreferredNamespacedResources} {
		lists, err := find()
		if err != context.Canceled {
			t.Errorf("the error of some groups became %v", err)
		}
		var got []string
		for _, l := range lists {
			for _, r := range l.APIResources {
				got = append(got, l.GroupVersion+" "+r.Name)
			}
		}
		want := []string{"networking.k8s.io/v1 ingresses", "networking.k8s.io/v1 networkpolicies", "networking.k8s.io/v1beta1 ingresses", "extensions/v1beta1 others", "a/b/c ingresses"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
