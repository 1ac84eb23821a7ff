package nginx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// The reasons of findings, as events have them.
const (
	// ReasonInvalid is a value, or an object that it names, that can't be used; ingress-nginx has the same reason.
	ReasonInvalid = "AnnotationParsingFailed"
	// ReasonRefused is an annotation that is not honoured, whatever its value.
	ReasonRefused = "AnnotationRefused"
	// ReasonDiffers is an annotation that is honoured in another way.
	ReasonDiffers = "AnnotationDiffers"
	// ReasonNoEffect is an annotation that does nothing here, nor in ingress-nginx.
	ReasonNoEffect = "AnnotationNoEffect"
	// ReasonUnknown is an annotation with the prefix that ingress-nginx doesn't know.
	ReasonUnknown = "AnnotationUnknown"
	// ReasonUnseen is an object that is not among what was read, and may be in the cluster.
	ReasonUnseen = "AnnotationObjectUnseen"
)

// reader reads the annotations of one Ingress.
type reader struct {
	ing      *networkingv1.Ingress
	d        *Defaults
	objects  Objects
	prefix   string
	values   map[string]string // by name without prefix, trimmed, without the empty ones
	opts     table.Options
	findings []table.Finding
	refs     []Ref
}

// Read reads what an Ingress asks for by its annotations. What its class and the settings have as defaults is filled in.
// The findings are in the order of the annotations' names; the references are what it asked objects for.
func Read(ing *networkingv1.Ingress, class table.Class, d *Defaults, objects Objects) (table.Options, []table.Finding, []Ref) {
	r := &reader{ing: ing, d: d, objects: objects, prefix: d.prefix(), values: map[string]string{}}
	base := d.class(class)
	r.opts = table.Options{Location: base.Location, Upstream: base.Upstream}
	r.collect()
	for _, read := range [...]func(*reader){
		readRewrite, readRedirects, readHost, readCORS, readAccess, readBasic, readExternal, readClientTLS, readBackend,
		readBackendTLS, readProxy, readBalance, readCanary, readErrors, readObserve, readRefused,
	} {
		read(r)
	}
	slices.SortStableFunc(r.findings, func(a, b table.Finding) int { return strings.Compare(a.Field, b.Field) })
	return r.opts, r.findings, sortRefs(r.refs)
}

// collect takes the annotations with the prefix. Those that nobody knows, that are empty, that have a word that is not
// allowed, or that do nothing without another one, are told of here.
func (r *reader) collect() {
	for _, key := range slices.Sorted(maps.Keys(r.ing.Annotations)) {
		name, ok := strings.CutPrefix(key, r.prefix+"/")
		if !ok {
			continue
		}
		a, ok := known().byName[name]
		if !ok {
			r.find(name, ReasonUnknown, true, "ingress-nginx has no annotation of this name"+formerly(name)+"; it does nothing. Correct or remove it.")
			continue
		}
		value := strings.TrimSpace(r.ing.Annotations[key])
		if value == "" {
			r.find(name, ReasonNoEffect, false, "it is empty, which is as if it were absent.")
			continue
		}
		if word := r.d.blocked(value); word != "" {
			r.fault(a.Name, fmt.Sprintf("its value has %q, which the key annotation-value-word-blocklist doesn't allow", word))
			continue
		}
		if risk := riskOf(name); r.d.MaxRisk != 0 && risk > r.d.MaxRisk && a.Support != Refused {
			r.fault(a.Name, fmt.Sprintf("its risk is %s, and the key annotations-risk-level allows %s", risk, r.d.MaxRisk))
			continue
		}
		r.values[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		a := known().byName[name]
		if a.AliasOf != "" {
			r.alias(name, a.AliasOf)
		}
		if len(a.Needs) > 0 && !slices.ContainsFunc(a.Needs, func(n string) bool { return r.values[n] != "" }) {
			r.find(name, ReasonNoEffect, true, "it does nothing without "+strings.Join(a.Needs, " or ")+"; add that annotation or remove this one.")
		}
	}
}

// alias lets an annotation's second name stand for the first one.
func (r *reader) alias(name, of string) {
	if _, both := r.values[of]; both {
		r.find(name, ReasonNoEffect, true, "it is another name of "+of+", which is set too and is used.")
		return
	}
	r.values[of] = r.values[name]
}

// written returns the name under which an annotation was written: its own or its alias.
func (r *reader) written(name string) string {
	if _, own := r.ing.Annotations[r.prefix+"/"+name]; own {
		return name
	}
	for i := range known().all {
		if a := &known().all[i]; a.AliasOf == name && r.values[a.Name] != "" {
			return a.Name
		}
	}
	return name
}

// find adds a finding about an annotation.
func (r *reader) find(name, reason string, warning bool, message string) {
	r.findings = append(r.findings, table.Finding{
		Ingress: types.NamespacedName{Namespace: r.ing.Namespace, Name: r.ing.Name},
		Field:   r.prefix + "/" + name,
		Reason:  reason, Warning: warning,
		Message: limited(r.prefix + "/" + name + ": " + message),
	})
}

// bad tells of a value that can't be used, and closes what the annotation's row says. The error completes a sentence
// that begins with the value and "can't be used:".
func (r *reader) bad(name string, err error) {
	a := known().byName[name]
	name = r.written(name)
	if r.unseen(name, err) {
		return
	}
	why := fmt.Sprintf("the value %s can't be used: %v", quoted(r.values[name]), err)
	if a.Bad == BadCloses {
		r.fault(name, why)
		return
	}
	r.find(name, ReasonInvalid, true, why+". It is as if the annotation were absent.")
}

// unseen tells of an object that isn't there where objects may exist that were not read.
func (r *reader) unseen(name string, err error) bool {
	var gone *missingError
	p, ok := r.objects.(interface{ Partial() bool })
	if !ok || !p.Partial() || !errors.As(err, &gone) {
		return false
	}
	r.find(name, ReasonUnseen, false, gone.kind+" "+gone.name.String()+" is not among what was read; in the cluster it must be there.")
	return true
}

// limited cuts a message to what an event takes: 1,024 bytes.
func limited(s string) string {
	const limit = 1000
	if len(s) <= limit {
		return s
	}
	n := limit
	for n > 0 && s[n]&0xc0 == 0x80 { // not within a character
		n--
	}
	return s[:n] + "…"
}

// quoted is a value in quotes, cut to a length that leaves room in an event.
func quoted(s string) string {
	const limit = 120
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit]) + "…"
	}
	return strconv.Quote(s)
}

// fault closes all paths of the Ingress, and says why.
func (r *reader) fault(name, why string) {
	if r.opts.Fault == "" {
		r.opts.Fault = limited(r.prefix + "/" + name + ": " + why)
	}
	r.find(name, ReasonInvalid, true, why+". All paths of this Ingress answer 503 until it is corrected.")
}

// value returns an annotation's value.
func (r *reader) value(name string) (string, bool) {
	v, ok := r.values[name]
	return v, ok
}

// into parses an annotation's value into a field; absent or bad, the field keeps its default.
func into[T any](r *reader, name string, field *T, parse func(string) (T, error)) bool {
	v, ok := r.values[name]
	if !ok {
		return false
	}
	parsed, err := parse(v)
	if err != nil {
		r.bad(name, err)
		return false
	}
	*field = parsed
	return true
}

// text parses an annotation's value into a Text.
func (r *reader) text(name string, allowed Vars, check func(string) error) *table.Text {
	var t table.Text
	if !into(r, name, &t, func(s string) (table.Text, error) {
		if check != nil {
			if err := check(s); err != nil {
				return table.Text{}, err
			}
		}
		return ParseText(s, allowed)
	}) {
		return nil
	}
	return &t
}

// parseBool takes what ingress-nginx takes: Go's forms.
func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, errors.New(`it is not "true" or "false"`)
	}
	return b, nil
}

// parseOnOff parses a switch of nginx's.
func parseOnOff(s string) (bool, error) {
	switch s {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, errors.New(`it is not "on" or "off"`)
}

// oneOf parses an enumeration: its words, and what each stands for.
func oneOf[T any](words []string, values ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if i := slices.Index(words, s); i >= 0 {
			return values[i], nil
		}
		var zero T
		return zero, fmt.Errorf("it is not one of %s", strings.Join(words, ", "))
	}
}

// positive refuses what is zero.
func positive[T int | int64 | time.Duration](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		v, err := parse(s)
		if err == nil && v == 0 {
			err = errors.New("it must be more than 0")
		}
		return v, err
	}
}

// object reads a name of an object as annotations have it: name, or namespace/name if that is allowed.
func (r *reader) object(s string) (types.NamespacedName, error) {
	return objectName(s, r.ing.Namespace, r.d.CrossNamespace)
}

func objectName(s, namespace string, cross bool) (types.NamespacedName, error) {
	ns, name, ok := strings.Cut(s, "/")
	if !ok {
		ns, name = namespace, s
	}
	if ns == "" || !isHostName(ns) || !isHostName(name) {
		return types.NamespacedName{}, errors.New("it is not a name or namespace/name of an object")
	}
	if namespace != "" && ns != namespace && !cross {
		return types.NamespacedName{}, fmt.Errorf("it names an object in namespace %s; use one of namespace %s, or set the key allow-cross-namespace-resources", ns, namespace)
	}
	return types.NamespacedName{Namespace: ns, Name: name}, nil
}

func (r *reader) secret(n types.NamespacedName) (*corev1.Secret, error) {
	r.refs = append(r.refs, Ref{Kind: "Secret", NamespacedName: n})
	if s := r.objects.Secret(n); s != nil {
		return s, nil
	}
	return nil, &missingError{"Secret", n}
}

func (r *reader) configMap(n types.NamespacedName) (*corev1.ConfigMap, error) {
	r.refs = append(r.refs, Ref{Kind: "ConfigMap", NamespacedName: n})
	if m := r.objects.ConfigMap(n); m != nil {
		return m, nil
	}
	return nil, &missingError{"ConfigMap", n}
}

// formerly says of a name that ingress-nginx had once what became of it.
func formerly(name string) string {
	switch name {
	case "global-rate-limit", "global-rate-limit-window", "global-rate-limit-key", "global-rate-limit-ignored-cidrs":
		return " any more (its last releases dropped it; limit-rps and limit-rpm limit each node)"
	case "enable-opentracing", "opentracing-trust-incoming-span":
		return " any more (use enable-opentelemetry and opentelemetry-trust-incoming-span)"
	case "enable-influxdb", "influxdb-measurement", "influxdb-port", "influxdb-host", "influxdb-server-name":
		return " any more (use the metrics)"
	case "secure-backends", "grpc-backend":
		return " any more (use backend-protocol)"
	case "add-base-url", "base-url-scheme":
		return " any more"
	case "session-cookie-hash":
		return " any more (cookies have one form now)"
	case "secure-verify-ca-secret":
		return " any more (use proxy-ssl-secret and proxy-ssl-verify)"
	case "load-balance-method":
		return " (use load-balance)"
	}
	return ""
}
