package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"minato/test/images"
)

const (
	// module and commit are the suite, with all five of its features.
	module = "sigs.k8s.io/ingress-controller-conformance"
	commit = "f84ea2a17f5f409c96bcfd5813d1d7b27bbe4f31"
	// echoImage takes the place of the image that the suite's Deployments name.
	echoImage = "ingressconformance/echoserver:v0.0.1"
	// echoFile has the constant with the image's name.
	echoFile = "test/kubernetes/deployment.go"
)

// suite is what was built.
type suite struct {
	dir     string // with features/ below it: the suite runs in it
	program string
	image   string // an archive
	reports string // a directory
}

var echoConstant = regexp.MustCompile(`(?m)^const EchoContainer = ".*"$`)

// build makes the suite and its image.
func build(ctx context.Context, o options) (*suite, error) {
	s := &suite{dir: filepath.Join(o.out, "suite"), program: filepath.Join(o.out, "conformance.test"), reports: filepath.Join(o.out, "reports")}
	from := o.suite
	if from == "" {
		var err error
		if from, err = download(ctx); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return nil, err
	}
	if err := os.CopyFS(s.dir, os.DirFS(from)); err != nil {
		return nil, fmt.Errorf("copy the suite: %w", err)
	}
	if err := s.patch(); err != nil {
		return nil, err
	}
	progress("build the suite")
	if err := s.goCommand(ctx, "test", "-c", "-trimpath", "-o", s.program, "."); err != nil {
		return nil, err
	}
	progress("make the image of its backend")
	b, err := images.New(images.Config{Out: o.out, Log: os.Stderr})
	if err != nil {
		return nil, err
	}
	recipe := images.Program("echoserver", echoImage, s.dir, module+"/images/echoserver")
	s.image = filepath.Join(o.out, recipe.Name+".tar")
	return s, b.Build(ctx, []images.Recipe{recipe})
}

// download returns the directory of the suite's module.
func download(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@"+commit)
	cmd.Dir = os.TempDir() // of no module: this repository needs nothing of the suite
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	var have struct{ Dir, Error string }
	if json.Unmarshal(out, &have) == nil && have.Dir != "" {
		return have.Dir, nil
	}
	return "", fmt.Errorf("download %s: %w; give a directory that has the suite by SUITE=DIR", module, errors.Join(err, errors.New(have.Error)))
}

// patch names the image that is made here.
func (s *suite) patch() error {
	// Files of the module cache are read-only, and so are their copies.
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, echoFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the directory has no suite: %w", err)
	}
	if !echoConstant.Match(text) {
		return fmt.Errorf("%s has no constant EchoContainer", echoFile)
	}
	return os.WriteFile(file, echoConstant.ReplaceAll(text, []byte(`const EchoContainer = "`+echoImage+`"`)), 0o644)
}

func (s *suite) goCommand(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w: %s", args[0], err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
