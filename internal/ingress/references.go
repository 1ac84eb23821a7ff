package ingress

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

// settings are what the ConfigMaps of settings and streams say.
type settings struct {
	*table.Settings
	defaults *nginx.Defaults
	findings []table.Finding
	// refs are the objects that they refer to, besides those ConfigMaps themselves, and backends those of them that
	// endpoints are needed of.
	refs     []Key
	backends []table.BackendRef
}

// readSettings reads the settings as they are now.
func (o *Options) readSettings(have nginx.Objects) settings {
	first := func(names []Key) *corev1.ConfigMap {
		for _, k := range names {
			if m := have.ConfigMap(k.named()); m != nil {
				return m
			}
		}
		return nil
	}
	var out settings
	var refs []nginx.Ref
	out.Settings, out.defaults, out.findings, refs = nginx.ReadSettings(first(keysOf(KindConfigMap, o.Settings)), o.Flags, have)
	streams, findings := nginx.ReadStreams(first(keysOf(KindConfigMap, o.TCP)), first(keysOf(KindConfigMap, o.UDP)))
	out.Streams = streams
	out.findings = append(out.findings, findings...)
	out.refs = keysOfRefs(refs)
	if n := out.DefaultCertificate; n.Name != "" {
		out.refs = append(out.refs, keyOf(KindSecret, n))
	}
	if b := out.DefaultBackend; b != nil {
		out.backends = append(out.backends, *b)
	}
	for i := range streams {
		out.backends = append(out.backends, streams[i].Backend)
	}
	for _, b := range out.backends {
		out.refs = append(out.refs, Key{Kind: KindService, Namespace: b.Namespace, Name: b.Service})
	}
	return out
}

// reading is what an Ingress of ours says.
type ingressReading struct {
	options  table.Options
	findings []table.Finding
	// refs are the objects that it refers to, and backends the Services' ports that endpoints are needed of.
	refs     []Key
	backends []table.BackendRef
}

// readIngress reads an Ingress of ours as it is to be understood now.
func readIngress(ing *networkingv1.Ingress, class table.Class, d *nginx.Defaults, have nginx.Objects) ingressReading {
	var out ingressReading
	var refs []nginx.Ref
	out.options, out.findings, refs = nginx.Read(ing, class, d, have)
	out.refs = keysOfRefs(refs)
	backend := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			out.backends = append(out.backends, table.RefOf(ing.Namespace, b.Service))
		}
	}
	backend(ing.Spec.DefaultBackend)
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				backend(&http.Paths[j].Backend)
			}
		}
	}
	if b := out.options.Location.ErrorsBackend; b != nil {
		out.backends = append(out.backends, *b)
	}
	for _, b := range out.backends {
		out.refs = append(out.refs, Key{Kind: KindService, Namespace: b.Namespace, Name: b.Service})
	}
	for i := range ing.Spec.TLS {
		if name := ing.Spec.TLS[i].SecretName; name != "" {
			out.refs = append(out.refs, Key{Kind: KindSecret, Namespace: ing.Namespace, Name: name})
		}
	}
	return out
}

func keysOfRefs(refs []nginx.Ref) []Key {
	out := make([]Key, 0, len(refs))
	for _, r := range refs {
		switch r.Kind {
		case "Secret":
			out = append(out, keyOf(KindSecret, r.NamespacedName))
		case "ConfigMap":
			out = append(out, keyOf(KindConfigMap, r.NamespacedName))
		case "Service":
			out = append(out, keyOf(KindService, r.NamespacedName))
		}
	}
	return out
}
