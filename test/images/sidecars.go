package images

import (
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sidecarModule is the module, from the repository's root, in which the programs beside
// CSI drivers are built.
const sidecarModule = "test/csi/sidecars"

// storageRegistry is where Kubernetes' own suite has the images of what stands beside
// CSI drivers.
const storageRegistry = "registry.k8s.io/sig-storage/"

// Sidecars lists the images of the programs that stand beside a CSI driver: upstream's
// own, built from their modules. They take minutes to build and 100 MB each, and no
// other test needs them. The second name of each is the one, with a version of its own
// time, that Kubernetes' suite asks for.
func Sidecars() []Recipe {
	var out []Recipe
	for _, p := range []struct{ pkg, asked string }{
		{"github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher", "csi-attacher:v4.11.0"},
		{"github.com/kubernetes-csi/external-provisioner/v5/cmd/csi-provisioner", "csi-provisioner:v6.1.1"},
		{"github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer", "csi-resizer:v2.1.0"},
		{"github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter", "csi-snapshotter:v8.5.0"},
		{"github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller", "snapshot-controller:v8.5.0"},
	} {
		name := path.Base(p.pkg)
		out = append(out, Recipe{
			Name: name, Tags: []string{"minato.local/" + name + ":latest", storageRegistry + p.asked},
			layer: &layer{name: name, module: sidecarModule, program: p.pkg},
			// As root: the driver's socket is root's.
			Config: v1.Config{Env: []string{"PATH=/"}, Entrypoint: []string{"/" + name}},
		})
	}
	return out
}

// Drivers lists the images of our CSI driver for tests: its own, and the one in the place
// of csi-node-driver-registrar. They are small.
func Drivers() []Recipe {
	driver := csiDriverLayer()
	env := []string{debianPath}
	return []Recipe{
		{Name: "csi-driver", Tags: []string{"minato.local/csi-driver:latest"}, layer: driver, Config: v1.Config{Env: env, Entrypoint: []string{"/driver"}}},
		{Name: "e2e-csi-registrar", Tags: []string{storageRegistry + "csi-node-driver-registrar:v2.16.0"}, layer: driver, Config: v1.Config{Env: env, Entrypoint: []string{"/driver", "registrar"}}},
	}
}

// hostpathPlugin is our CSI driver for tests in the place of csi-driver-host-path, which
// Kubernetes' suite runs to have a driver within itself, of volumes or of dynamic
// resources, serve on a node. Specs of the latter run the program by its path.
func hostpathPlugin() Recipe {
	return Recipe{
		Name: "e2e-hostpathplugin", Tags: []string{storageRegistry + "hostpathplugin:v1.17.1"},
		layer:  &layer{name: "hostpathplugin", on: csiDriverLayer(), finish: finishHostpathPlugin},
		Config: v1.Config{Env: []string{debianPath}, Entrypoint: []string{"/hostpathplugin"}},
	}
}

func csiDriverLayer() *layer {
	return &layer{name: "csi-driver", on: busyboxLayer, program: "minato/test/csi/driver"}
}

func finishHostpathPlugin(_ *kitchen, t *tree) error {
	t.link("hostpathplugin", "driver")
	return nil
}
