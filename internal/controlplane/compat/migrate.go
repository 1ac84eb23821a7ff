package compat

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/json"
	sigsyaml "sigs.k8s.io/yaml"

	"minato/internal/controlplane/compat/gone"
)

// Migration is what became of one document of a manifest.
type Migration struct {
	// Document is the document, as it was if Changes and Problems are empty.
	Document []byte
	// Changes tell of each change, with the object's kind and name.
	Changes []string
	// Problems tell what today's Kubernetes has no form for; that is as it was.
	Problems []string
}

// Migrate brings one YAML or JSON document to today's form, by the same conversion
// and defaults that the API server uses. What the document has not, and today's
// default is equal to, is not written. Comments stay with the fields that stay.
// Kinds that are not known are left as they are.
func Migrate(document []byte) (Migration, error) {
	out := Migration{Document: document}
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		return out, fmt.Errorf("read YAML: %w", err)
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return out, nil
	}
	changed, err := out.object(root.Content[0])
	if err != nil || !changed {
		return out, err
	}
	out.Document, err = encode(&root)
	return out, err
}

// object migrates an object, or those of a list.
func (m *Migration) object(node *yaml.Node) (changed bool, err error) {
	fields, err := decode(node)
	if err != nil {
		return false, err
	}
	apiVersion, _ := fields["apiVersion"].(string)
	kind, _ := fields["kind"].(string)
	items := child(node, "items")
	if kind == "List" && items != nil && items.Kind == yaml.SequenceNode {
		for _, item := range items.Content {
			done, err := m.object(item)
			if err != nil {
				return false, err
			}
			changed = changed || done
		}
		return changed, nil
	}
	meta, _ := fields["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	id := strings.TrimSpace(kind + " " + name)
	today, err := todaysFields(fields, apiVersion, kind)
	var nothing goneError
	switch {
	case errors.As(err, &nothing):
		m.Problems = append(m.Problems, id+": "+nothing.Error())
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%s of %s: %w", id, apiVersion, err)
	case today == nil:
		return false, nil
	}
	if version, _ := today["apiVersion"].(string); version != apiVersion {
		m.Changes = append(m.Changes, fmt.Sprintf("%s: %s is now %s", id, apiVersion, version))
	}
	var d difference
	d.compare(nil, fields, today)
	for _, change := range append(d.changed, d.gone...) {
		m.Changes = append(m.Changes, id+": "+change)
	}
	if hasAlias(node) {
		*node = *fresh(today)
		return true, nil
	}
	merge(node, today)
	return true, nil
}

// goneError says that today's Kubernetes has nothing in place of an object.
type goneError struct{ text string }

func (e goneError) Error() string { return e.text }

// todaysFields returns the fields of an object in today's form, nil if it is in that
// form or of a kind that is not known here.
func todaysFields(fields map[string]any, apiVersion, kind string) (map[string]any, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, nil // it is left as it is
	}
	if apiVersion == "v1" && kind == "Service" {
		return todaysService(fields)
	}
	if kind == "PodSecurityPolicy" && slices.Contains(gone.PolicyVersions, gv) {
		return nil, goneError{policyGone}
	}
	if r := findKind(gv.WithKind(kind)); r != nil {
		return r.todaysFields(fields)
	}
	return nil, nil
}

// todaysFields converts an object, and leaves out what need not be written.
func (r *resource) todaysFields(fields map[string]any) (map[string]any, error) {
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	scheme := r.scheme()
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	obj, _, err := strict.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	internal, err := r.internal(obj)
	if err != nil {
		return nil, err
	}
	full, err := plainly(scheme, internal, r.today)
	if err != nil {
		return nil, err
	}
	modernize(full)
	short := runtime.DeepCopyJSON(full)
	p := pruning{scheme: scheme, gvk: r.today.WithKind(r.kind), full: full, short: short}
	p.prune(nil, short, fields)
	return short, nil
}

// modernize drops what nobody has to write, and has an autoscaler refer to today's
// version of what it scales.
func modernize(full map[string]any) {
	if meta, ok := full["metadata"].(map[string]any); ok {
		if annotations, ok := meta["annotations"].(map[string]any); ok {
			for _, name := range private {
				delete(annotations, name)
			}
			if len(annotations) == 0 {
				delete(meta, "annotations")
			}
		}
	}
	spec, _ := full["spec"].(map[string]any)
	target, _ := spec["scaleTargetRef"].(map[string]any)
	version, _ := target["apiVersion"].(string)
	kind, _ := target["kind"].(string)
	if gv, err := schema.ParseGroupVersion(version); err == nil {
		if r := findKind(gv.WithKind(kind)); r != nil {
			target["apiVersion"] = r.today.String()
		}
	}
}

// pruning leaves out the fields of an object that the defaults give back.
type pruning struct {
	scheme      *runtime.Scheme
	gvk         schema.GroupVersionKind
	full, short map[string]any
}

// prune goes through the fields at the end of the way; written is what the document
// has there.
func (p *pruning) prune(way steps, v, written any) {
	switch v := v.(type) {
	case map[string]any:
		has, _ := written.(map[string]any)
		for _, name := range names(v) {
			if len(way) == 0 && (name == "apiVersion" || name == "kind") {
				continue
			}
			next := way.then(step{name: name})
			was, ok := has[name]
			if !ok && restored(p.scheme, p.full, p.short, p.gvk, next) {
				delete(v, name)
				continue
			}
			if ok && p.same(v, name, was) {
				continue
			}
			p.prune(next, v[name], was)
		}
	case []any:
		has, _ := written.([]any)
		for i := range v {
			var was any
			if i < len(has) {
				was = has[i]
			}
			p.prune(way.then(step{index: i}), v[i], was)
		}
	}
}

// same keeps a value in the words of the document if they mean the same: a quantity
// may be written in several ways.
func (p *pruning) same(v map[string]any, name string, was any) bool {
	switch v[name].(type) {
	case map[string]any, []any:
		return false
	}
	is := v[name]
	if equality.Semantic.DeepEqual(is, was) {
		return true
	}
	v[name] = was
	if got, err := defaulted(p.scheme, p.short, p.gvk); err == nil && equality.Semantic.DeepEqual(got, p.full) {
		return true
	}
	v[name] = is
	return false
}

// decode returns a node's fields as JSON has them.
func decode(node *yaml.Node) (map[string]any, error) {
	data, err := yaml.Marshal(node)
	if err != nil {
		return nil, fmt.Errorf("read YAML: %w", err)
	}
	if data, err = sigsyaml.YAMLToJSON(data); err != nil {
		return nil, fmt.Errorf("read YAML: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("read YAML: %w", err)
	}
	return fields, nil
}

// encode writes a document with lists indented as they were.
func encode(root *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if !indented(root) {
		e.CompactSeqIndent()
	}
	if err := e.Encode(root); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out.Bytes(), e.Close()
}

// Documents splits YAML at the lines that begin with three dashes, which are in none
// of the parts unless there is something else in the line.
func Documents(data []byte) [][]byte {
	var out [][]byte
	var current []byte
	begun := false
	for line := range bytes.Lines(data) {
		text := bytes.TrimRight(line, " \t\r\n")
		switch {
		case string(text) == "---":
			if begun {
				out = append(out, current)
			}
			current, begun = nil, true
		case bytes.HasPrefix(text, []byte("--- ")):
			if begun {
				out = append(out, current)
			}
			current, begun = append([]byte(nil), line[len("--- "):]...), true
		default:
			current, begun = append(current, line...), true
		}
	}
	if begun {
		out = append(out, current)
	}
	return out
}
