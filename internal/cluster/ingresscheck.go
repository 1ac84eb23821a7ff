package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"minato/internal/controlplane/compat"
	"minato/internal/ingress"
	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

// IngressReport says what of Ingresses is honoured.
type IngressReport = nginx.Report

// IngressCheck says which Ingresses are judged, and by which flags of `minato
// ingress`. NewIngressCheck has the values of a cluster of our own.
type IngressCheck struct {
	// Files are manifests or directories of them, "-" is standard input. Without
	// any, it is all Ingresses of a live cluster: that of Kubeconfig, or if that is
	// empty the one of the Name.
	Files            []string
	Recursive        bool
	Name, Kubeconfig string
	// ConfigMap is namespace/name of that with settings, empty for the usual ones.
	ConfigMap         string
	Classes           table.ClassConfig
	AnnotationsPrefix string
	Passthrough       bool
}

// NewIngressCheck returns a check by what holds in a cluster of our own.
func NewIngressCheck() *IngressCheck {
	o := ingress.DefaultOptions()
	return &IngressCheck{Classes: o.Classes, AnnotationsPrefix: o.Flags.AnnotationsPrefix, Passthrough: o.Flags.Passthrough}
}

// Run reads the Ingresses and judges them.
func (c *IngressCheck) Run(ctx context.Context) (*IngressReport, error) {
	cfg := nginx.CheckConfig{
		Flags: nginx.Flags{AnnotationsPrefix: c.AnnotationsPrefix, Passthrough: c.Passthrough}, Class: c.Classes, Partial: len(c.Files) > 0,
	}
	if c.ConfigMap != "" {
		namespace, name, ok := strings.Cut(c.ConfigMap, "/")
		if !ok || namespace == "" || name == "" {
			return nil, fmt.Errorf("--configmap is %q; write NAMESPACE/NAME of a ConfigMap", c.ConfigMap)
		}
		cfg.Settings = types.NamespacedName{Namespace: namespace, Name: name}
	}
	read := c.readCluster
	if len(c.Files) > 0 {
		read = func(context.Context, nginx.CheckConfig) ([]runtime.Object, error) {
			return readManifests(c.Files, c.Recursive)
		}
	}
	objects, err := read(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return nginx.Check(objects, cfg)
}

func (c *IngressCheck) readCluster(ctx context.Context, cfg nginx.CheckConfig) ([]runtime.Object, error) {
	kubeconfig := c.Kubeconfig
	if kubeconfig == "" {
		if err := ValidateName(c.Name); err != nil {
			return nil, err
		}
		kubeconfig = Paths{Name: c.Name}.Kubeconfig()
		if _, err := os.Stat(kubeconfig); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no cluster %q; name one with --name, or give --kubeconfig", c.Name)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	o := ingress.DefaultOptions()
	o.Classes, o.Flags = cfg.Class, cfg.Flags
	if cfg.Settings.Name != "" {
		o.Settings = []types.NamespacedName{cfg.Settings}
	}
	return ingress.ReadAll(ctx, client, o)
}

// readManifests reads objects from files, directories and, for "-", standard
// input. Those of versions that Kubernetes no longer serves are in today's form.
func readManifests(names []string, recursive bool) ([]runtime.Object, error) {
	var all []runtime.Object
	for _, name := range names {
		files, err := manifestsIn(name, recursive)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			objects, err := readManifest(file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, objects...)
		}
	}
	return all, nil
}

// manifestsIn lists the files that a name stands for, as kubectl does: of a
// directory those whose names end as those of manifests do.
func manifestsIn(name string, recursive bool) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return []string{name}, err
	}
	var out []string
	err = filepath.WalkDir(name, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != name && !recursive:
			return fs.SkipDir
		case !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			out = append(out, path)
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s: no file in this directory ends in .yaml, .yml or .json", name)
	}
	return out, err
}

func readManifest(name string) ([]runtime.Object, error) {
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	objects, err := ingress.ReadManifests(in)
	if err != nil {
		return nil, err
	}
	for i := range objects {
		if objects[i], err = compat.Today(objects[i]); err != nil {
			return nil, err
		}
	}
	return objects, nil
}
