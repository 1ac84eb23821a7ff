// Package credentialprovider asks credential providers for logins: programs that a
// CredentialProviderConfig of kubelet's names (kubelet.config.k8s.io/v1), which
// read a CredentialProviderRequest and write a CredentialProviderResponse
// (credentialprovider.kubelet.k8s.io/v1). What they answer is kept as long as they
// say. It must not know registries.
package credentialprovider

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	configv1 "k8s.io/kubelet/config/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const (
	configVersion = "kubelet.config.k8s.io/v1"
	pluginVersion = "credentialprovider.kubelet.k8s.io/v1"
)

// Check reads a configuration, or a directory of such, and looks whether the
// programs are in binDir.
func Check(path, binDir string) error {
	_, err := load(path, binDir)
	return err
}

// load reads the configuration: a file, or all *.yaml, *.yml and *.json of a
// directory, in the order of their names.
func load(path, binDir string) ([]configv1.CredentialProvider, error) {
	files := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		files = nil
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && slices.Contains([]string{".json", ".yaml", ".yml"}, ext) {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s: has no *.yaml, *.yml or *.json", path)
		}
	}
	var all []configv1.CredentialProvider
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		providers, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, providers...)
	}
	for i, p := range all {
		if slices.ContainsFunc(all[:i], func(o configv1.CredentialProvider) bool { return o.Name == p.Name }) {
			return nil, fmt.Errorf("%s: providers: %q is there twice", path, p.Name)
		}
		if _, err := exec.LookPath(filepath.Join(binDir, p.Name)); err != nil {
			return nil, fmt.Errorf("%s: providers: the program of %q: %w", path, p.Name, err)
		}
	}
	return all, nil
}

// parse reads one configuration. What it does not know is an error.
func parse(text []byte) ([]configv1.CredentialProvider, error) {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	var c configv1.CredentialProviderConfig
	unknown, err := json.UnmarshalStrict(data, &c, json.DisallowUnknownFields, json.DisallowDuplicateFields)
	if err != nil {
		return nil, err
	}
	if c.APIVersion != configVersion || c.Kind != "CredentialProviderConfig" {
		return nil, fmt.Errorf("apiVersion %q, kind %q: give apiVersion: %s and kind: CredentialProviderConfig", c.APIVersion, c.Kind, configVersion)
	}
	if len(unknown) > 0 {
		return nil, errors.Join(unknown...)
	}
	if len(c.Providers) == 0 {
		return nil, errors.New("providers: give at least one")
	}
	for i, p := range c.Providers {
		if err := validate(p); err != nil {
			return nil, fmt.Errorf("providers[%d].%w", i, err)
		}
	}
	return c.Providers, nil
}

// validate has kubelet's rules.
func validate(p configv1.CredentialProvider) error {
	switch {
	case p.Name == "" || p.Name == "." || p.Name == ".." || strings.ContainsAny(p.Name, "/ "):
		return fmt.Errorf("name %q: give the name of a program, without / and spaces", p.Name)
	case p.APIVersion != pluginVersion:
		return fmt.Errorf("apiVersion %q: only %s is supported", p.APIVersion, pluginVersion)
	case len(p.MatchImages) == 0:
		return errors.New("matchImages: give at least one")
	case p.DefaultCacheDuration == nil || p.DefaultCacheDuration.Duration < 0:
		return errors.New("defaultCacheDuration: give a duration of 0 or more")
	}
	a := p.TokenAttributes
	if a == nil {
		return nil
	}
	switch {
	case a.ServiceAccountTokenAudience == "":
		return errors.New("tokenAttributes.serviceAccountTokenAudience: is required")
	case a.RequireServiceAccount == nil:
		return errors.New("tokenAttributes.requireServiceAccount: is required")
	case !*a.RequireServiceAccount && len(a.RequiredServiceAccountAnnotationKeys) > 0:
		return errors.New("tokenAttributes.requiredServiceAccountAnnotationKeys: needs requireServiceAccount: true")
	case a.CacheType != configv1.ServiceAccountServiceAccountTokenCacheType && a.CacheType != configv1.TokenServiceAccountTokenCacheType:
		return fmt.Errorf("tokenAttributes.cacheType %q: give ServiceAccount or Token", a.CacheType)
	}
	seen := map[string]bool{}
	for _, key := range slices.Concat(a.RequiredServiceAccountAnnotationKeys, a.OptionalServiceAccountAnnotationKeys) {
		if msgs := validation.IsQualifiedName(strings.ToLower(key)); len(msgs) > 0 || seen[key] {
			return fmt.Errorf("tokenAttributes: the annotation %q is no annotation's name, or is there twice", key)
		}
		seen[key] = true
	}
	return nil
}
