package metallb

import (
	"embed"
	"fmt"
	"path"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:embed crds/*.yaml
var crds embed.FS

// CustomResourceDefinitions returns the definitions of all kinds, sorted by name. They accept every object that those
// of MetalLB 0.16 accept, with its webhooks, and have a list of conditions in the status of each kind.
func CustomResourceDefinitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := crds.ReadDir("crds") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("list the definitions of %s: %w", Group, err)
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, file := range files {
		text, err := crds.ReadFile(path.Join("crds", file.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the definition %s: %w", file.Name(), err)
		}
		crd := new(apiextensionsv1.CustomResourceDefinition)
		if err := yaml.UnmarshalStrict(text, crd); err != nil {
			return nil, fmt.Errorf("decode the definition %s: %w", file.Name(), err)
		}
		all = append(all, crd)
	}
	return all, nil
}
