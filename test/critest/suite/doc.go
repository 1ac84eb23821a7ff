// Package suite is nothing but the place from which crictl and critest of
// sigs.k8s.io/cri-tools are built, at versions of their own.
package suite

import (
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
