package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

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
	const strip = "-ldflags=-s -w"
	for _, args := range [][]string{
		{"test", "-c", "-trimpath", strip, "-o", filepath.Join(o.out, suite), "k8s.io/kubernetes/test/e2e"},
		{"build", "-trimpath", strip, "-o", o.out + "/", "github.com/onsi/ginkgo/v2/ginkgo", "k8s.io/kubernetes/cmd/kubectl"},
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
	return b.Build(ctx, images.Upstream())
}

// goCommand runs go in the module of upstream's programs.
func goCommand(ctx context.Context, args ...string) error {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(filepath.Dir(string(bytes.TrimSpace(mod))), "test/conformance/upstream")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w; run it from the repository's root", args[0], err)
	}
	return nil
}
