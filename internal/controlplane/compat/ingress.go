package compat

import (
	"strconv"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/networking"
)

// ingressForms shows what networking.k8s.io/v1 has in place of spec.backend, and
// of the paths with serviceName and servicePort and maybe without pathType.
func ingressForms(obj runtime.Object) []string {
	in, ok := obj.(*networking.Ingress)
	if !ok {
		return nil
	}
	spec := field.NewPath("spec")
	var out []string
	if b := in.Spec.DefaultBackend; b != nil {
		out = append(out, spec.Child("defaultBackend").String()+": "+backendForm(*b)+" (was spec.backend)")
	}
	var paths []string
	for i, rule := range in.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for j, p := range rule.HTTP.Paths {
			at := spec.Child("rules").Index(i).Child("http", "paths").Index(j)
			paths = append(paths, at.String()+": "+pathForm(p))
		}
	}
	if len(paths) > 0 {
		out = append(out, join(paths))
	}
	return out
}

func pathForm(p networking.HTTPIngressPath) string {
	var fields []flow
	if p.Path != "" {
		fields = append(fields, flow{"path", text(p.Path)})
	}
	if p.PathType != nil {
		fields = append(fields, flow{"pathType", text(string(*p.PathType))})
	}
	return mapping(append(fields, flow{"backend", backendForm(p.Backend)})...)
}

func backendForm(b networking.IngressBackend) string {
	switch {
	case b.Service != nil:
		port := flow{"number", strconv.Itoa(int(b.Service.Port.Number))}
		if b.Service.Port.Name != "" {
			port = flow{"name", text(b.Service.Port.Name)}
		}
		return mapping(flow{"service", mapping(flow{"name", text(b.Service.Name)}, flow{"port", mapping(port)})})
	case b.Resource != nil:
		var fields []flow
		if b.Resource.APIGroup != nil {
			fields = append(fields, flow{"apiGroup", text(*b.Resource.APIGroup)})
		}
		fields = append(fields, flow{"kind", text(b.Resource.Kind)}, flow{"name", text(b.Resource.Name)})
		return mapping(flow{"resource", mapping(fields...)})
	}
	return mapping()
}
