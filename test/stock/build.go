package stock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	module   = "minato"
	upstream = "k8s.io/kubernetes"
)

// Binary returns the path of one of upstream's programs, such as kube-apiserver, in build/stock of this source tree.
// It is built on first use, from the module of the version that go.mod names; that takes minutes where nothing of it
// was compiled before.
func Binary(ctx context.Context, name string) (string, error) {
	root, version, err := modules(ctx)
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "build", "stock", version, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	// Several tests may come here at once: each builds for itself, and the last rename wins.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".build-")
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	defer os.RemoveAll(dir)
	// Programs report, and judge what they talk to by, the version that they were built as.
	minor := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(minor) < 2 {
		return "", fmt.Errorf("build %s: version %q of %s is not MAJOR.MINOR.PATCH", name, version, upstream)
	}
	flags := "-s -w"
	for key, value := range map[string]string{"gitVersion": version, "gitMajor": minor[0], "gitMinor": minor[1], "gitTreeState": "clean"} {
		flags += " -X k8s.io/component-base/version." + key + "=" + value
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", flags, "-o", filepath.Join(dir, name), upstream+"/cmd/"+name)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	if err := os.Rename(filepath.Join(dir, name), path); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, nil
}

// modules finds the source tree and the version of Kubernetes in its go.mod.
func modules(ctx context.Context) (root, version string, err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{if .Main}}{{.Dir}}{{else}}{{.Version}}{{end}}", module, upstream).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return "", "", fmt.Errorf("find the source tree (the go command has to run inside of it): %w", err)
	}
	root, version, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	return root, version, nil
}
