package nginx

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/ingress/table"
)

// headerFields reads a ConfigMap of headers without variables, by name.
func headerFields(m *corev1.ConfigMap) ([]table.HeaderField, error) {
	var out []table.HeaderField
	for _, k := range slices.Sorted(maps.Keys(m.Data)) {
		v := strings.TrimSpace(m.Data[k])
		if !isHeaderName(k) {
			return nil, fmt.Errorf("ConfigMap %s/%s: %q is not a header's name", m.Namespace, m.Name, k)
		}
		if controlCharacter(v) >= 0 {
			return nil, fmt.Errorf("ConfigMap %s/%s: the value of %s has a control character", m.Namespace, m.Name, k)
		}
		out = append(out, table.HeaderField{Name: k, Value: v})
	}
	return out, nil
}
