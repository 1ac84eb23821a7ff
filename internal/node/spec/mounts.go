package spec

import v1 "k8s.io/api/core/v1"

// RecursiveReadOnly tells whether what is mounted below a volume is read-only in
// the container as well. The container runtime can do that, so what is to be
// done "if possible" is done (KEP-3857).
func RecursiveReadOnly(m *v1.VolumeMount) bool {
	if m.RecursiveReadOnly == nil || !m.ReadOnly {
		return false
	}
	return *m.RecursiveReadOnly == v1.RecursiveReadOnlyEnabled || *m.RecursiveReadOnly == v1.RecursiveReadOnlyIfPossible
}
