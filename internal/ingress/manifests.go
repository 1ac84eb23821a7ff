package ingress

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// ReadManifests reads objects of Kubernetes' own kinds from YAML or JSON, several with "---" between. Those of other kinds are
// passed over. What has no namespace is in "default".
func ReadManifests(in io.Reader) ([]runtime.Object, error) {
	reader := yaml.NewYAMLReader(bufio.NewReader(in))
	decoder := scheme.Codecs.UniversalDeserializer()
	var out []runtime.Object
	for i := 1; ; i++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		var empty map[string]any
		if err := yaml.Unmarshal(doc, &empty); err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		if len(empty) == 0 {
			continue
		}
		obj, _, err := decoder.Decode(doc, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		more, err := flatten(obj)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		out = append(out, more...)
	}
}

// flatten takes lists apart, and gives objects a namespace.
func flatten(obj runtime.Object) ([]runtime.Object, error) {
	if meta.IsListType(obj) {
		items, err := meta.ExtractList(obj)
		if err != nil {
			return nil, err
		}
		var out []runtime.Object
		for _, item := range items {
			if raw, ok := item.(*runtime.Unknown); ok {
				if item, _, err = scheme.Codecs.UniversalDeserializer().Decode(raw.Raw, nil, nil); runtime.IsNotRegisteredError(err) {
					continue
				} else if err != nil {
					return nil, err
				}
			}
			more, err := flatten(item)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
		return out, nil
	}
	if m, err := meta.Accessor(obj); err == nil && m.GetNamespace() == "" && obj.GetObjectKind().GroupVersionKind().Kind != "IngressClass" {
		m.SetNamespace(metav1.NamespaceDefault)
	}
	return []runtime.Object{obj}, nil
}

// Changes are those of the objects that a node's ingress is made from.
func Changes(objects []runtime.Object) []Change {
	var out []Change
	for _, obj := range objects {
		o, ok := obj.(object)
		if !ok {
			continue
		}
		for k := KindClass; k <= lastKind; k++ {
			if fmt.Sprintf("%T", newObject(k)) == fmt.Sprintf("%T", obj) {
				out = append(out, Change{Key: Key{Kind: k, Namespace: o.GetNamespace(), Name: o.GetName()}, Object: strip(o)})
			}
		}
	}
	return out
}
