package cluster

import (
	"errors"
	"fmt"

	"minato/internal/node/credentialprovider"
	"minato/internal/runtime/registry"
)

// RegistrySettings say how images come from registries; paths are absolute.
type RegistrySettings struct {
	// Config is a folder in the layout of containerd's certs.d, or a file with the
	// same for several registries.
	Config string `json:"config,omitempty"`
	// Providers is a CredentialProviderConfig of kubelet's or a directory of such,
	// and ProviderBinDir has its programs.
	Providers      string `json:"providers,omitempty"`
	ProviderBinDir string `json:"providerBinDir,omitempty"`
}

// absolute makes paths absolute that begin at the working directory.
func (r RegistrySettings) absolute() (RegistrySettings, error) {
	for _, path := range []*string{&r.Config, &r.Providers, &r.ProviderBinDir} {
		var err error
		if *path, err = absolute(*path); err != nil {
			return r, err
		}
	}
	return r, nil
}

// check reads all that the settings name.
func (r RegistrySettings) check() error {
	if err := (registry.Config{Path: r.Config}).Check(); err != nil {
		return fmt.Errorf("--registry-config: %w", err)
	}
	switch {
	case (r.Providers == "") != (r.ProviderBinDir == ""):
		return errors.New("--image-credential-provider-config and --image-credential-provider-bin-dir go together: give both or none")
	case r.Providers == "":
		return nil
	}
	if err := credentialprovider.Check(r.Providers, r.ProviderBinDir); err != nil {
		return fmt.Errorf("--image-credential-provider-config: %w", err)
	}
	return nil
}
