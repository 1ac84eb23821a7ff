package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config says how registries are reached.
type Config struct {
	// Path is a folder in the layout of containerd's certs.d (HOST/hosts.toml, or
	// Docker's HOST/*.crt, *.cert and *.key), or a file with tables by registry,
	// each of which says what a hosts.toml would. It is read anew for each pull; ""
	// is none.
	Path string
	// Transport carries requests; nil takes one that heeds HTTPS_PROXY and gives up
	// after seconds where nobody answers.
	Transport http.RoundTripper
	// Pause waits before attempt number attempt, from 0 on, to go on with a transfer
	// that broke off; nil waits longer each time.
	Pause func(ctx context.Context, attempt int) error
}

// maxConfigFile bounds one file of the configuration, in bytes.
const maxConfigFile = 1 << 20

// endpoints finds out where the images of a registry are.
func (c Config) endpoints(registry string) ([]endpoint, error) {
	if c.Path == "" {
		return []endpoint{defaultEndpoint(registry)}, nil
	}
	info, err := os.Stat(c.Path)
	if err != nil {
		return nil, fmt.Errorf("registry configuration: %w", err)
	}
	if !info.IsDir() {
		return c.fromFile(registry)
	}
	for _, name := range hostFolders(registry) {
		dir := filepath.Join(c.Path, name)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("registry configuration: %w", err)
		}
		return fromFolder(dir, registry)
	}
	return []endpoint{defaultEndpoint(registry)}, nil
}

// hostFolders are the names of the folder that may be about a registry, as
// containerd looks for them. Some file systems have no colons in names.
func hostFolders(registry string) []string {
	var names []string
	if i := strings.LastIndexByte(registry, ':'); i > 0 {
		names = append(names, registry[:i]+"_"+registry[i+1:]+"_")
	}
	return append(names, registry, anyRegistry)
}

func (c Config) fromFile(registry string) ([]endpoint, error) {
	data, err := readConfigFile(c.Path)
	if err != nil {
		return nil, err
	}
	all, err := parseRegistries(data)
	if err != nil {
		return nil, fmt.Errorf("registry configuration %s: %w", c.Path, err)
	}
	table, ok := all[registry]
	if !ok {
		table, ok = all[anyRegistry]
	}
	if !ok {
		return []endpoint{defaultEndpoint(registry)}, nil
	}
	endpoints, err := table.endpoints(registry, filepath.Dir(c.Path))
	if err != nil {
		return nil, fmt.Errorf("registry configuration %s: [%q]: %w", c.Path, registry, err)
	}
	return endpoints, nil
}

// fromFolder reads the folder of one registry.
func fromFolder(dir, registry string) ([]endpoint, error) {
	path := filepath.Join(dir, "hosts.toml")
	data, err := readConfigFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fromCertificates(dir, registry)
	}
	if err != nil {
		return nil, err
	}
	endpoints, err := parseHosts(data, registry, dir)
	if err != nil {
		return nil, fmt.Errorf("registry configuration %s: %w", path, err)
	}
	return endpoints, nil
}

// fromCertificates takes the files that Docker has in such a folder: NAME.crt is a
// CA, NAME.cert a client's certificate and NAME.key its key.
func fromCertificates(dir, registry string) ([]endpoint, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("registry configuration: %w", err)
	}
	e := defaultEndpoint(registry)
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch filepath.Ext(path) {
		case ".crt":
			e.caFiles = append(e.caFiles, path)
		case ".cert":
			key := strings.TrimSuffix(path, ".cert") + ".key"
			if _, err := os.Stat(key); err != nil {
				key = path
			}
			e.clientPairs = append(e.clientPairs, [2]string{path, key})
		}
	}
	return []endpoint{e}, nil
}

func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("registry configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, fmt.Errorf("registry configuration: %w", err)
	}
	if len(data) > maxConfigFile {
		return nil, fmt.Errorf("registry configuration %s: is larger than the limit of %d bytes", path, maxConfigFile)
	}
	return data, nil
}

// Check reads all of the configuration, certificates included, and returns what
// is wrong with it.
func (c Config) Check() error {
	if c.Path == "" {
		return nil
	}
	info, err := os.Stat(c.Path)
	if err != nil {
		return fmt.Errorf("registry configuration: %w", err)
	}
	if !info.IsDir() {
		return c.checkFile()
	}
	entries, err := os.ReadDir(c.Path)
	if err != nil {
		return fmt.Errorf("registry configuration: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		dir := filepath.Join(c.Path, entry.Name())
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		endpoints, err := fromFolder(dir, entry.Name())
		errs = append(errs, err, checkEndpoints(dir, endpoints))
	}
	return errors.Join(errs...)
}

func (c Config) checkFile() error {
	data, err := readConfigFile(c.Path)
	if err != nil {
		return err
	}
	all, err := parseRegistries(data)
	if err != nil {
		return fmt.Errorf("registry configuration %s: %w", c.Path, err)
	}
	var errs []error
	for _, registry := range slices.Sorted(maps.Keys(all)) {
		endpoints, err := all[registry].endpoints(registry, filepath.Dir(c.Path))
		if err != nil {
			err = fmt.Errorf("registry configuration %s: [%q]: %w", c.Path, registry, err)
		}
		errs = append(errs, err, checkEndpoints(c.Path, endpoints))
	}
	return errors.Join(errs...)
}

func checkEndpoints(path string, endpoints []endpoint) error {
	for i := range endpoints {
		if _, err := endpoints[i].tlsConfig(); err != nil {
			return fmt.Errorf("registry configuration %s: %w", path, err)
		}
	}
	return nil
}
