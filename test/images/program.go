package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// program compiles the program of a layer, once in a run, for an image that
// holds nothing it could lean on. What an image is known by has its content: the
// program is made from far more than the source here.
func (b *Builder) program(ctx context.Context, l *layer) ([]byte, error) {
	pkg := l.program
	if data, done := b.programs[pkg]; done {
		return data, nil
	}
	scratch, err := os.MkdirTemp("", "minato-images-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	out := filepath.Join(scratch, path.Base(pkg))
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, pkg}
	dir := ""
	if filepath.IsAbs(l.module) {
		dir = l.module
	} else if l.module != "" {
		root, err := repository(ctx)
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(root, l.module)
	}
	// Through env, as the program must not need a C library whatever is set outside.
	if _, err := command(ctx, dir, "env", append([]string{"CGO_ENABLED=0", "GOFLAGS=", "go"}, args...)...); err != nil {
		return nil, fmt.Errorf("run it from within the repository: %w", err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	b.programs[pkg] = data
	return data, nil
}

// madeBy tells what the layers of an image come from, but for the packages.
func (b *Builder) madeBy(ctx context.Context, l *layer) (string, error) {
	text := b.source
	for _, l := range l.stack() {
		if l.program == "" {
			continue
		}
		data, err := b.program(ctx, l)
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(data)
		text += " " + hex.EncodeToString(sum[:])
	}
	return text, nil
}

// repository is the root of this repository.
func repository(ctx context.Context) (string, error) { return moduleDir(ctx, "minato") }

// moduleDir is where a module that this repository needs has its files; they are
// fetched if they are not there yet.
func moduleDir(ctx context.Context, module string) (string, error) {
	out, err := command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
	dir := string(bytes.TrimSpace(out))
	if err == nil && dir == "" {
		_, err = command(ctx, "", "go", "mod", "download", module)
		if err == nil {
			out, err = command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
			dir = string(bytes.TrimSpace(out))
		}
	}
	if err == nil && dir == "" {
		err = fmt.Errorf("module %s has no directory", module)
	}
	if err != nil {
		return "", fmt.Errorf("run it from within the repository: %w", err)
	}
	return dir, nil
}
