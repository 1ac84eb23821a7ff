package table

import "k8s.io/apimachinery/pkg/types"

// Findings returns what there is to say about an Ingress, in a stable order.
func (t *Table) Findings(key types.NamespacedName) []Finding {
	f, _ := t.findings.get(key.Namespace + "/" + key.Name)
	return f
}

func (b *Builder) tell(t *Table) {}
