package settings

import (
	"errors"
	"fmt"

	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// What a file with a kubelet's configuration says it is.
const (
	fileVersion = "kubelet.config.k8s.io/v1beta1"
	fileKind    = "KubeletConfiguration"
)

// ParseFile reads a KubeletConfiguration, YAML or JSON. A field that nothing acts
// on is an error that names it.
func ParseFile(text []byte) (*Kubelet, error) {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	var f struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Kubelet    `json:",inline"`
	}
	unknown, err := json.UnmarshalStrict(data, &f, json.DisallowUnknownFields, json.DisallowDuplicateFields)
	if err != nil {
		return nil, err
	}
	if f.APIVersion != fileVersion || f.Kind != fileKind {
		return nil, fmt.Errorf("apiVersion %q, kind %q: give apiVersion: %s and kind: %s", f.APIVersion, f.Kind, fileVersion, fileKind)
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%w; leave out what Minato has no such setting for", errors.Join(unknown...))
	}
	_, err = f.Values()
	return &f.Kubelet, err
}
