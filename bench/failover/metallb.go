package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"minato/bench/lab"
)

const (
	metallbModule    = "go.universe.tf/metallb"
	metallbNamespace = "metallb-system"
	metallbClass     = "bench.minato.local/metallb"
)

// metallbPrograms are built in metallb/.
var metallbPrograms = []string{"controller", "speaker"}

// installMetalLB runs MetalLB as its own manifest says: layer 2 with memberlist, a
// speaker in each node's network. What differs: the images hold programs built
// from its Go module, it serves one class only, and without its admission
// webhook, which would have to judge objects of both systems.
func (c *cluster) installMetalLB(ctx context.Context) error {
	dir, version, err := metallbSource(ctx)
	if err != nil {
		return err
	}
	lab.Progress("install MetalLB %s", version)
	for _, program := range metallbPrograms {
		archive := filepath.Join(c.dir, program+".tar")
		tag := "quay.io/metallb/" + program + ":" + version
		if err := writeImage(archive, tag, filepath.Join(c.metallb, program)); err != nil {
			return err
		}
		if _, err := c.run(ctx, "image", "load", "--name", clusterName, archive); err != nil {
			return err
		}
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "config/manifests/metallb-native.yaml"))
	if err != nil {
		return err
	}
	kinds, err := c.api.Discovery().ServerResourcesForGroupVersion("metallb.io/v1beta1")
	served := err == nil && len(kinds.APIResources) > 0
	objects, err := readManifest(manifest, version, served)
	if err != nil {
		return err
	}
	// Definitions come first, so that they are known to what follows.
	for _, part := range objects {
		if err := c.apply(ctx, part); err != nil {
			return err
		}
	}
	return c.await(ctx, "MetalLB's getting ready", c.metallbReady)
}

func (c *cluster) metallbReady(ctx context.Context) (bool, error) {
	pods, err := c.api.CoreV1().Pods(metallbNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=metallb"})
	if err != nil {
		return false, err
	}
	n := 0
	for i := range pods.Items {
		if ready(&pods.Items[i]) {
			n++
		}
	}
	if n < c.nodes+1 {
		return false, fmt.Errorf("%d of MetalLB's %d Pods are ready", n, c.nodes+1)
	}
	return true, nil
}

// metallbSource finds the module that the programs are built from.
func metallbSource(ctx context.Context) (dir, version string, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", "", fmt.Errorf("go env: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", metallbModule)
	cmd.Dir = filepath.Join(filepath.Dir(string(bytes.TrimSpace(root))), "bench/failover/metallb")
	out, err := cmd.Output()
	if err != nil {
		return "", "", fmt.Errorf("MetalLB's module can't be had, so there is nothing to compare with (-systems minato does without): go list: %w", err)
	}
	dir, version, found := strings.Cut(string(bytes.TrimSpace(out)), " ")
	if !found || dir == "" {
		return "", "", errors.New("MetalLB's module has not been fetched; `make metallb` does it")
	}
	return dir, version, nil
}

// readManifest takes MetalLB's manifest apart, into definitions (unless the cluster has its own) and the rest.
func readManifest(manifest []byte, version string, definitionsServed bool) ([][]byte, error) {
	var definitions, rest bytes.Buffer
	found := map[string]bool{}
	for _, doc := range bytes.Split(manifest, []byte("\n---\n")) {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal(doc, &o.Object); err != nil {
			return nil, fmt.Errorf("MetalLB's manifest: %w", err)
		}
		into := &rest
		switch o.GetKind() {
		case "", "ValidatingWebhookConfiguration":
			continue
		case "CustomResourceDefinition":
			if definitionsServed {
				continue
			}
			into = &definitions
		case "Deployment", "DaemonSet":
			if err := adapt(&o, version); err != nil {
				return nil, err
			}
			found[o.GetName()] = true
		}
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		into.Write(append(text, "---\n"...))
	}
	for _, program := range metallbPrograms {
		if !found[program] {
			return nil, fmt.Errorf("MetalLB's manifest has no %s", program)
		}
	}
	if definitions.Len() == 0 {
		return [][]byte{rest.Bytes()}, nil
	}
	return [][]byte{definitions.Bytes(), rest.Bytes()}, nil
}

func adapt(o *unstructured.Unstructured, version string) error {
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(o.Object, path...)
	if err != nil || len(containers) == 0 {
		return fmt.Errorf("MetalLB's manifest: %s has no containers", o.GetName())
	}
	first, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("MetalLB's manifest: the container of %s is no object", o.GetName())
	}
	args, _, err := unstructured.NestedStringSlice(first, "args")
	if err != nil {
		return err
	}
	args = append(args, "--lb-class="+metallbClass)
	if o.GetName() == "controller" {
		args = append(args, "--webhook-mode=disabled")
	}
	first["args"] = runtime.DeepCopyJSONValue(toAny(args))
	first["image"] = "quay.io/metallb/" + o.GetName() + ":" + version
	first["imagePullPolicy"] = "Never"
	return unstructured.SetNestedSlice(o.Object, containers, path...)
}

func toAny(texts []string) []any {
	var out []any
	for _, t := range texts {
		out = append(out, t)
	}
	return out
}

// writeImage writes the archive of an image that holds one program and nothing else.
func writeImage(archive, tag, program string) error {
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Base(program), Mode: 0o755, Size: int64(len(data))})
	if err == nil {
		_, err = w.Write(data)
	}
	if err := errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}), w.Close()); err != nil {
		return err
	}
	blob, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, blob)
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", goruntime.GOARCH
	file.Config = v1.Config{Entrypoint: []string{"/" + filepath.Base(program)}, Env: []string{"PATH=/"}}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(archive, ref, img)
}
