package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"minato/test/images"
)

// What is built of Kubernetes' sources: the suite, and what runs it.
const (
	suite   = "e2e.test"
	ginkgo  = "ginkgo"
	kubectl = "kubectl"
)

// build makes the programs and the images; what is there and current is made again in seconds.
func build(ctx context.Context, o options) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	progress("build the suite; from nothing this takes minutes")
	version, err := kubernetesVersion(ctx)
	if err != nil {
		return err
	}
	// A spec has kubectl compare its version with the server's.
	flags := "-ldflags=-s -w"
	for _, variable := range []string{"component-base/version.gitVersion", "client-go/pkg/version.gitVersion"} {
		flags += " -X k8s.io/" + variable + "=" + version
	}
	for _, args := range [][]string{
		{"test", "-c", "-trimpath", flags, "-o", filepath.Join(o.out, suite), "k8s.io/kubernetes/test/e2e"},
		{"build", "-trimpath", flags, "-o", o.out + "/", "github.com/onsi/ginkgo/v2/ginkgo", "k8s.io/kubernetes/cmd/kubectl"},
	} {
		if err := goCommand(ctx, args...); err != nil {
			return err
		}
	}
	if o.realImages {
		return nil
	}
	progress("make the images")
	b, err := images.New(images.Config{Out: o.images, Log: os.Stderr})
	if err != nil {
		return err
	}
	return b.Build(ctx, o.recipes())
}

// recipes are the images that the cluster needs.
func (o options) recipes() []images.Recipe {
	all := images.Upstream()
	if o.csi {
		all = slices.Concat(all, images.Sidecars(), images.Drivers())
	}
	return all
}

// kubernetesVersion is that of the release that the programs are built from, such as v1.36.3.
func kubernetesVersion(ctx context.Context) (string, error) {
	out := &bytes.Buffer{}
	err := goOutput(ctx, out, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	return string(bytes.TrimSpace(out.Bytes())), err
}

// goCommand runs go in the module of upstream's programs.
func goCommand(ctx context.Context, args ...string) error { return goOutput(ctx, os.Stderr, args...) }

func goOutput(ctx context.Context, out io.Writer, args ...string) error {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(filepath.Dir(string(bytes.TrimSpace(mod))), "test/conformance/upstream")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w; run it from the repository's root", args[0], err)
	}
	return nil
}
