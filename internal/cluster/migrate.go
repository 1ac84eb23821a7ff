package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"sigs.k8s.io/yaml"

	"minato/internal/controlplane/compat"
)

// Migrate brings manifests to today's form. It asks no cluster.
type Migrate struct {
	// Files are files, directories, or "-" for standard input. Recursive reads
	// directories in directories as well.
	Files     []string
	Recursive bool
	// JSON writes JSON in place of YAML: a list if there are several objects.
	JSON bool
}

// Write writes the manifests to out, and what was changed to told, line by line. It
// returns how many objects have no form today; those are written as they are. If a
// manifest can't be read nothing is written to out.
func (m Migrate) Write(out, told io.Writer) (problems int, err error) {
	var documents [][]byte
	for _, name := range m.Files {
		files, err := manifestsIn(name, m.Recursive)
		if err != nil {
			return 0, err
		}
		for _, file := range files {
			migrated, err := m.file(file, told)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			for _, one := range migrated {
				problems += len(one.Problems)
				documents = append(documents, one.Document)
			}
		}
	}
	if m.JSON {
		return problems, writeJSON(out, documents)
	}
	_, err = out.Write(bytes.Join(documents, []byte("---\n")))
	return problems, err
}

// file migrates the documents of one file.
func (m Migrate) file(name string, told io.Writer) ([]compat.Migration, error) {
	data, err := readInput(name)
	if err != nil {
		return nil, err
	}
	var out []compat.Migration
	for _, document := range compat.Documents(data) {
		one, err := compat.Migrate(document)
		if err != nil {
			return nil, err
		}
		for _, line := range append(one.Changes, one.Problems...) {
			if _, err := fmt.Fprintf(told, "%s: %s\n", name, line); err != nil {
				return nil, err
			}
		}
		if len(one.Document) > 0 && one.Document[len(one.Document)-1] != '\n' {
			one.Document = append(bytes.Clone(one.Document), '\n')
		}
		out = append(out, one)
	}
	return out, nil
}

func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

// writeJSON writes the objects of the documents.
func writeJSON(out io.Writer, documents [][]byte) error {
	items := []json.RawMessage{}
	for _, document := range documents {
		data, err := yaml.YAMLToJSON(document)
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		if string(data) != "null" { // a comment alone
			items = append(items, data)
		}
	}
	var all any = map[string]any{"apiVersion": "v1", "kind": "List", "items": items}
	if len(items) == 1 {
		all = items[0]
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(all)
}
