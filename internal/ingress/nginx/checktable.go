package nginx

import (
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/ingress/certs"
	"minato/internal/ingress/table"
)

// ordered is an Ingress as old as its place among the manifests says, if they don't say when it was created: they are applied
// in that order.
func (s *objectSet) ordered(ing *networkingv1.Ingress) *networkingv1.Ingress {
	if !ing.CreationTimestamp.IsZero() {
		return ing
	}
	ing = ing.DeepCopy()
	ing.CreationTimestamp = metav1.NewTime(time.Unix(int64(1+s.order[name(ing.Namespace, ing.Name)]), 0))
	return ing
}

// certificates are those of an Ingress that can be used.
func (s *objectSet) certificates(ing *networkingv1.Ingress) map[string]*table.Certificate {
	out := map[string]*table.Certificate{}
	for _, t := range ing.Spec.TLS {
		if secret := s.Secret(name(ing.Namespace, t.SecretName)); secret != nil {
			if c, err := certs.Certificate(secret); err == nil {
				out[t.SecretName] = c
			}
		}
	}
	return out
}

// beside adds to the report what shows only in the table of all Ingresses: a path that another one has, one that can't be read
// as a pattern, a canary of nothing, an annotation that an older Ingress overrules.
func (s *objectSet) beside(r *Report, served []*table.Ingress, settings *table.Settings, prefix string) {
	b := table.NewBuilder()
	b.SetSettings(settings)
	for _, i := range served {
		b.Set(i)
	}
	t := b.Table()
	for i := range r.Ingresses {
		out := &r.Ingresses[i]
		if !out.Served {
			continue
		}
		for _, f := range t.Findings(name(out.Namespace, out.Name)) {
			s.addFinding(out, f, prefix)
		}
	}
}

func (s *objectSet) addFinding(out *CheckedObject, f table.Finding, prefix string) {
	field := f.Field
	if !strings.HasPrefix(field, "spec.") {
		field = prefix + field
	}
	said := func(it Item) bool {
		return strings.HasPrefix(it.Field, field) && (f.Reason == table.ReasonBackend || f.Reason == table.ReasonCertificate)
	}
	if slices.ContainsFunc(out.Items, said) {
		return // by fields
	}
	support, note := Honoured, f.Message
	switch {
	case f.Reason == table.ReasonCanary && s.partial:
		note += " (among what was read)"
	case f.Reason == table.ReasonCertificate && s.partial:
	case f.Warning:
		support = Refused
	}
	for i := range out.Items {
		it := &out.Items[i]
		if it.Field != field {
			continue
		}
		if support == Refused {
			it.Support = Refused
		}
		if !slices.Contains(it.Notes, note) {
			it.Notes = append(it.Notes, note)
		}
		return
	}
	out.Items = append(out.Items, Item{Field: field, Support: support, Notes: []string{note}})
}
