package nginx

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/certs"
	"minato/internal/ingress/table"
)

// Report says of each Ingress, and of each ConfigMap of settings, what is honoured.
type Report struct {
	Ingresses []CheckedObject `json:"ingresses"`
	Settings  []CheckedObject `json:"settings,omitempty"`
}

// CheckedObject is what is said of one object.
type CheckedObject struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Class is minato or nginx, Why the reason in a sentence. An Ingress that isn't Served has no items.
	Class  string `json:"class,omitempty"`
	Served bool   `json:"served"`
	Why    string `json:"why,omitempty"`
	// Closed says why all its paths answer 503, if they do.
	Closed string `json:"closed,omitempty"`
	Items  []Item `json:"items,omitempty"`
}

// Item is an annotation, a field of the Ingress or a key.
type Item struct {
	Field   string   `json:"field"`
	Value   string   `json:"value,omitempty"`
	Support Support  `json:"support"`
	Notes   []string `json:"notes,omitempty"`
}

// CheckConfig says how objects are judged.
type CheckConfig struct {
	Flags Flags
	Class table.ClassConfig
	// Settings is the name of the ConfigMap that is in force; the zero name takes minato-ingress of kube-system, else
	// ingress-nginx-controller of ingress-nginx, as far as they are among the objects.
	Settings types.NamespacedName
	// Partial is whether objects may exist that are not among those given, as with manifests in a file.
	Partial bool
}

// Check judges the Ingresses among the objects, with the other objects as what they refer to. Objects of other kinds are
// passed over. The report is in the order of namespaces and names.
func Check(objects []runtime.Object, c CheckConfig) (*Report, error) {
	set, err := newObjectSet(objects)
	if err != nil {
		return nil, err
	}
	set.partial = c.Partial
	if c.Partial {
		set.addOwnClasses(c.Class)
	}
	r := &Report{Ingresses: []CheckedObject{}}
	cm := set.settings(c.Settings)
	settings, d, findings, _ := ReadSettings(cm, c.Flags, set)
	if cm != nil || len(findings) > 0 {
		r.Settings = append(r.Settings, checkSettings(cm, findings))
	}
	r.Settings = append(r.Settings, set.checkStreams()...)
	var served []*table.Ingress
	for _, key := range slices.SortedFunc(maps.Keys(set.ingresses), compareNames) {
		checked, ing := set.check(set.ingresses[key], d, c.Class)
		r.Ingresses = append(r.Ingresses, checked)
		if ing != nil {
			served = append(served, ing)
		}
	}
	set.beside(r, served, settings, d.prefix()+"/")
	for _, key := range slices.SortedFunc(maps.Keys(set.old), compareNames) {
		r.Ingresses = append(r.Ingresses, CheckedObject{Namespace: key.Namespace, Name: key.Name, Why: "it is of " + set.old[key] + ", and was not looked at; write it as networking.k8s.io/v1"})
	}
	return r, nil
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// check judges one Ingress by itself, and returns it as it is served, nil if it isn't.
func (s *objectSet) check(ing *networkingv1.Ingress, d *Defaults, cfg table.ClassConfig) (CheckedObject, *table.Ingress) {
	out := CheckedObject{Namespace: ing.Namespace, Name: ing.Name}
	class, served, why := table.Classify(ing, s.classes, cfg)
	out.Served, out.Why = served, why
	if !served {
		return out, nil
	}
	out.Class = "minato"
	if class == table.ClassNginx {
		out.Class = "nginx"
	}
	opts, findings, _ := Read(ing, class, d, s)
	out.Closed = opts.Fault
	notes := map[string][]table.Finding{}
	for _, f := range findings {
		notes[f.Field] = append(notes[f.Field], f)
	}
	prefix := d.prefix() + "/"
	for _, key := range slices.Sorted(maps.Keys(ing.Annotations)) {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			out.Items = append(out.Items, item(key, ing.Annotations[key], name, notes[key]))
		} else if name, ok := strings.CutPrefix(key, oldPrefix); ok && knownName(name) {
			out.Items = append(out.Items, Item{Field: key, Value: ing.Annotations[key], Support: Refused, Notes: []string{"nothing reads this prefix since ingress-nginx 0.9; write " + prefix + name}})
		}
	}
	out.Items = append(out.Items, s.fields(ing)...)
	return out, &table.Ingress{Object: s.ordered(ing), Class: class, ClassReason: why, Options: opts, Certificates: s.certificates(ing)}
}

// oldPrefix was that of ingress-nginx's annotations before 2017.
const oldPrefix = "ingress.kubernetes.io/"

func knownName(name string) bool {
	_, ok := Lookup(name)
	return ok
}

// item judges one annotation by its row and its findings.
func item(field, value, name string, findings []table.Finding) Item {
	it := Item{Field: field, Value: value, Support: Honoured}
	if a, ok := Lookup(name); ok {
		it.Support = a.Support
		if a.Support == Differs {
			it.Notes = append(it.Notes, a.Difference)
		}
	}
	for _, f := range findings {
		switch f.Reason {
		case ReasonRefused, ReasonInvalid, ReasonUnknown:
			it.Support = Refused
		case ReasonDiffers:
			if it.Support == Honoured {
				it.Support = Differs
			}
		case ReasonNoEffect:
			// It does as little here as in ingress-nginx.
			it.Support, it.Notes = Honoured, nil
		}
		if lines := snippetAdvice(value); f.Reason == ReasonRefused && strings.HasSuffix(name, "-snippet") {
			it.Notes = append(it.Notes, "it is not honoured; the rest of the Ingress is served. In its place:")
			it.Notes = append(it.Notes, lines...)
			continue
		}
		note := strings.TrimPrefix(f.Message, field+": ")
		if !slices.Contains(it.Notes, note) {
			it.Notes = append(it.Notes, note)
		}
	}
	return it
}

// fields judges what of the specification may be refused or needs an object.
func (s *objectSet) fields(ing *networkingv1.Ingress) []Item {
	var out []Item
	refuse := func(field, note string) {
		out = append(out, Item{Field: field, Support: Refused, Notes: []string{note}})
	}
	const resource = "a backend of the type resource is not served: its paths answer 404; name a Service"
	if b := ing.Spec.DefaultBackend; b != nil && b.Resource != nil {
		refuse("spec.defaultBackend.resource", resource)
	}
	for i, rule := range ing.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for j, p := range rule.HTTP.Paths {
			if p.Backend.Resource != nil {
				refuse(fmt.Sprintf("spec.rules[%d].http.paths[%d].backend.resource", i, j), resource)
			}
		}
	}
	for i, t := range ing.Spec.TLS {
		if t.SecretName == "" {
			continue
		}
		field := fmt.Sprintf("spec.tls[%d].secretName", i)
		secret := s.Secret(name(ing.Namespace, t.SecretName))
		if secret == nil {
			if s.partial {
				out = append(out, Item{Field: field, Value: t.SecretName, Support: Honoured, Notes: []string{"the Secret is not among what was read; without it the hosts have the default certificate"}})
			} else {
				refuse(field, "there is no such Secret: the hosts have the default certificate; create it")
			}
			continue
		}
		if _, err := certs.Certificate(secret); err != nil {
			refuse(field, err.Error()+". The hosts have the default certificate")
		}
	}
	return out
}

func checkSettings(cm *corev1.ConfigMap, findings []table.Finding) CheckedObject {
	out := CheckedObject{Served: true}
	values := map[string]string{}
	if cm != nil {
		out.Namespace, out.Name, values = cm.Namespace, cm.Name, maps.Clone(cm.Data)
	}
	notes := map[string][]table.Finding{}
	for _, f := range findings {
		notes[f.Field] = append(notes[f.Field], f)
		if _, ok := values[f.Field]; !ok {
			if values == nil {
				values = map[string]string{}
			}
			values[f.Field] = ""
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		it := Item{Field: key, Value: values[key], Support: Honoured}
		if k, ok := knownKeys().byName[key]; ok && k.Support == Differs {
			it.Support, it.Notes = Differs, []string{k.Difference}
		}
		for _, f := range notes[key] {
			if it.Support = Differs; f.Reason != ReasonSettingDiffers {
				it.Support = Refused
			}
			it.Notes = append(it.Notes, strings.TrimPrefix(f.Message, key+": "))
		}
		out.Items = append(out.Items, it)
	}
	return out
}

// checkStreams judges the ConfigMaps of TCP and UDP services, wherever settings may be.
func (s *objectSet) checkStreams() []CheckedObject {
	var out []CheckedObject
	for _, n := range SettingsNames() {
		for _, protocol := range [...]string{"tcp", "udp"} {
			m := s.configMaps[name(n.Namespace, protocol+"-services")]
			if m == nil {
				continue
			}
			tcp, udp := m, (*corev1.ConfigMap)(nil)
			if protocol == "udp" {
				tcp, udp = nil, m
			}
			_, findings := ReadStreams(tcp, udp)
			out = append(out, checkSettings(m, findings))
		}
	}
	return out
}

// objectSet holds objects by name.
type objectSet struct {
	ingresses  map[types.NamespacedName]*networkingv1.Ingress
	order      map[types.NamespacedName]int    // of Ingresses among the objects
	old        map[types.NamespacedName]string // Ingresses of versions before v1, with the version
	classes    []*networkingv1.IngressClass
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	services   map[types.NamespacedName]*corev1.Service
	partial    bool
}

func newObjectSet(objects []runtime.Object) (*objectSet, error) {
	s := &objectSet{
		ingresses:  map[types.NamespacedName]*networkingv1.Ingress{},
		order:      map[types.NamespacedName]int{},
		old:        map[types.NamespacedName]string{},
		secrets:    map[types.NamespacedName]*corev1.Secret{},
		configMaps: map[types.NamespacedName]*corev1.ConfigMap{},
		services:   map[types.NamespacedName]*corev1.Service{},
	}
	return s, s.add(objects)
}

func (s *objectSet) add(objects []runtime.Object) error {
	for _, o := range objects {
		if meta.IsListType(o) {
			list, err := meta.ExtractList(o)
			if err != nil {
				return fmt.Errorf("read a list of objects: %w", err)
			}
			if err := s.add(list); err != nil {
				return err
			}
			continue
		}
		switch o := o.(type) {
		case *networkingv1.Ingress:
			if o.Namespace == "" { // as kubectl takes manifests
				o = o.DeepCopy()
				o.Namespace = "default"
			}
			s.ingresses[name(o.Namespace, o.Name)] = o
			s.order[name(o.Namespace, o.Name)] = len(s.order)
		case *networkingv1.IngressClass:
			s.classes = append(s.classes, o)
		case *corev1.Secret:
			o = withStringData(o)
			s.secrets[name(cmp.Or(o.Namespace, "default"), o.Name)] = o
		case *corev1.ConfigMap:
			s.configMaps[name(cmp.Or(o.Namespace, "default"), o.Name)] = o
		case *corev1.Service:
			s.services[name(cmp.Or(o.Namespace, "default"), o.Name)] = o
		default:
			s.addOld(o)
		}
	}
	return nil
}

// addOld notes an Ingress of a version before v1, which is to be converted first.
func (s *objectSet) addOld(o runtime.Object) {
	kind := o.GetObjectKind().GroupVersionKind()
	if m, err := meta.Accessor(o); err == nil && kind.Kind == "Ingress" && (kind.Group == networkingv1.GroupName || kind.Group == "extensions") {
		s.old[name(cmp.Or(m.GetNamespace(), "default"), m.GetName())] = kind.GroupVersion().String()
	}
}

// withStringData is a Secret of a manifest as the API server would store it.
func withStringData(o *corev1.Secret) *corev1.Secret {
	if len(o.StringData) == 0 {
		return o
	}
	o = o.DeepCopy()
	if o.Data == nil {
		o.Data = map[string][]byte{}
	}
	for k, v := range o.StringData {
		o.Data[k] = []byte(v)
	}
	return o
}

// addOwnClasses adds the classes that each cluster has, unless they are there.
func (s *objectSet) addOwnClasses(cfg table.ClassConfig) {
	for _, own := range [...]struct{ name, controller, preferred string }{
		{"minato", cfg.Minato, "true"}, {"nginx", cfg.Nginx, ""},
	} {
		if own.controller == "" || slices.ContainsFunc(s.classes, func(c *networkingv1.IngressClass) bool { return c.Name == own.name }) {
			continue
		}
		c := &networkingv1.IngressClass{Spec: networkingv1.IngressClassSpec{Controller: own.controller}}
		c.Name = own.name
		if own.preferred != "" && !slices.ContainsFunc(s.classes, func(c *networkingv1.IngressClass) bool {
			return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		}) {
			c.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: own.preferred}
		}
		s.classes = append(s.classes, c)
	}
}

// settings returns the ConfigMap that is in force.
func (s *objectSet) settings(n types.NamespacedName) *corev1.ConfigMap {
	if n.Name != "" {
		return s.configMaps[n]
	}
	for _, n := range SettingsNames() {
		if m := s.configMaps[n]; m != nil {
			return m
		}
	}
	return nil
}

// SettingsNames are the ConfigMaps of settings; the first that exists is in force.
func SettingsNames() []types.NamespacedName {
	return []types.NamespacedName{name("kube-system", "minato-ingress"), name("ingress-nginx", "ingress-nginx-controller")}
}

func (s *objectSet) Secret(n types.NamespacedName) *corev1.Secret       { return s.secrets[n] }
func (s *objectSet) ConfigMap(n types.NamespacedName) *corev1.ConfigMap { return s.configMaps[n] }
func (s *objectSet) Service(n types.NamespacedName) *corev1.Service     { return s.services[n] }

// Partial makes objects that are not there a note and no fault.
func (s *objectSet) Partial() bool { return s.partial }
