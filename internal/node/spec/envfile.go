package spec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Files reads files of a Pod's volumes.
type Files interface {
	// ReadFile returns the text of a file of the volume, by its path in there. The
	// error wraps fs.ErrNotExist if there is none.
	ReadFile(ctx context.Context, pod *v1.Pod, volume, path string) (string, error)
}

// fileKey is the value of a variable that a file has (KEP-3721).
func (e *environment) fileKey(ctx context.Context, ref *v1.FileKeySelector) (value string, skip bool, err error) {
	if e.Files == nil {
		return "", false, errors.New("environment variables from files are not supported by this node")
	}
	text, err := e.Files.ReadFile(ctx, e.Pod, ref.VolumeName, ref.Path)
	if errors.Is(err, fs.ErrNotExist) && isTrue(ref.Optional) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read file %s of volume %s: %w", ref.Path, ref.VolumeName, err)
	}
	value, err = envFileValue(text, ref.Key)
	if err != nil {
		return "", false, fmt.Errorf("file %s of volume %s: %w", ref.Path, ref.VolumeName, err)
	}
	// As for the kubelet, an empty value is none.
	if value == "" && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("environment variable key %q not found in file %q of volume %q", ref.Key, ref.Path, ref.VolumeName)
	}
	return value, value == "", nil
}

// envFileValue finds the first value of a variable in a text of lines NAME='value',
// with comments after # (see ParseEnv in the kubelet's pkg/kubelet/util/env). Between
// the quotes nothing is special, not even the end of a line. A blank after the =
// makes the value empty. Lines behind the variable are not looked at.
func envFileValue(text, key string) (string, error) {
	for number := 1; text != ""; {
		line, rest, _ := strings.Cut(text, "\n")
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || line[0] == '#' {
			text, number = rest, number+1
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", fmt.Errorf("line %d has no =", number)
		case name == "" || name != strings.TrimRight(name, " \t"):
			return "", fmt.Errorf("line %d has no name right before the =", number)
		}
		_, value, _ := strings.Cut(text, "=")
		if value == "" || strings.ContainsRune(" \t", rune(value[0])) {
			if name == key {
				return "", nil
			}
			text, number = rest, number+1
			continue
		}
		if value[0] != '\'' {
			return "", fmt.Errorf("the value in line %d is not in single quotes", number)
		}
		value, behind, ok := strings.Cut(value[1:], "'")
		if !ok {
			return "", fmt.Errorf("the quote in line %d is never closed", number)
		}
		comment, next, _ := strings.Cut(behind, "\n")
		number += strings.Count(value, "\n")
		if comment = strings.Trim(comment, " \t\r"); comment != "" && comment[0] != '#' {
			return "", fmt.Errorf("there is something behind the value in line %d", number)
		}
		if name == key {
			return value, nil
		}
		text, number = next, number+1
	}
	return "", nil
}
