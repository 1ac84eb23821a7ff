package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// program compiles a program of this repository, once in a run, for an image that
// holds nothing it could lean on. What an image is known by has its content: the
// program is made from far more than the source here.
func (b *Builder) program(ctx context.Context, pkg string) ([]byte, error) {
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
	// Through env, as the program must not need a C library whatever is set outside.
	if _, err := command(ctx, "", "env", append([]string{"CGO_ENABLED=0", "GOFLAGS=", "go"}, args...)...); err != nil {
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
		data, err := b.program(ctx, l.program)
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(data)
		text += " " + hex.EncodeToString(sum[:])
	}
	return text, nil
}
