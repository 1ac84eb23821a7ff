package images

import (
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sidecarModule is the module, from the repository's root, in which the programs beside
// CSI drivers are built.
const sidecarModule = "test/csi/sidecars"

// Sidecars lists the images of the programs that stand beside a CSI driver: upstream's
// own, built from their modules. They take minutes to build and 100 MB each, and no
// other test needs them.
func Sidecars() []Recipe {
	var out []Recipe
	for _, pkg := range []string{
		"github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher",
		"github.com/kubernetes-csi/external-provisioner/v5/cmd/csi-provisioner",
		"github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer",
		"github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter",
		"github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller",
	} {
		name := path.Base(pkg)
		out = append(out, Recipe{
			Name: name, Tags: []string{"minato.local/" + name + ":latest"},
			layer: &layer{name: name, module: sidecarModule, program: pkg},
			// As root: the driver's socket is root's.
			Config: v1.Config{Env: []string{"PATH=/"}, Entrypoint: []string{"/" + name}},
		})
	}
	return out
}
