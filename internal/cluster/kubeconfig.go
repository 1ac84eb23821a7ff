package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig gives the user the cluster's context: merged into the
// user's own kubeconfig, or alone in file where one is named. It returns the
// file written.
func writeKubeconfig(c Config, admin *clientcmdapi.Config, file string) (string, error) {
	if file != "" {
		if err := clientcmd.WriteToFile(*admin, file); err != nil {
			return "", fmt.Errorf("write kubeconfig %s: %w", file, err)
		}
		return file, nil
	}
	access := clientcmd.NewDefaultPathOptions()
	config, err := access.GetStartingConfig()
	if err != nil {
		return "", fmt.Errorf("read your kubeconfig: %w; repair it, or give another file with --kubeconfig", err)
	}
	name := c.ContextName()
	admin = admin.DeepCopy()
	cluster, user, context := admin.Clusters[name], admin.AuthInfos[name], admin.Contexts[name]
	// Entries that keep the name of the file they were read from would be written
	// back to that file.
	cluster.LocationOfOrigin, user.LocationOfOrigin, context.LocationOfOrigin = "", "", ""
	config.Clusters[name], config.AuthInfos[name], config.Contexts[name] = cluster, user, context
	config.CurrentContext = name
	if err := clientcmd.ModifyConfig(access, *config, false); err != nil {
		return "", fmt.Errorf("write your kubeconfig: %w", err)
	}
	return access.GetDefaultFilename(), nil
}

// removeKubeconfig takes the cluster's context out of the files that
// writeKubeconfig wrote to; other contexts stay as they are.
func removeKubeconfig(c Config) error {
	var errs []error
	if c.Kubeconfig != "" {
		errs = append(errs, removeOwnKubeconfig(c))
	}
	errs = append(errs, dropContext(clientcmd.NewDefaultPathOptions(), c.ContextName()))
	return errors.Join(errs...)
}

// removeOwnKubeconfig removes the file that --kubeconfig named, unless the user
// has added other contexts to it.
func removeOwnKubeconfig(c Config) error {
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove context %s: %w", c.ContextName(), err)
	}
	if _, ours := config.Contexts[c.ContextName()]; ours && len(config.Contexts) == 1 {
		return os.Remove(c.Kubeconfig)
	}
	options := clientcmd.NewDefaultPathOptions()
	options.LoadingRules.ExplicitPath = c.Kubeconfig
	return dropContext(options, c.ContextName())
}

func dropContext(access *clientcmd.PathOptions, name string) error {
	config, err := access.GetStartingConfig()
	if err != nil {
		return fmt.Errorf("remove context %s from your kubeconfig: %w", name, err)
	}
	if _, ok := config.Contexts[name]; !ok {
		return nil
	}
	delete(config.Clusters, name)
	delete(config.AuthInfos, name)
	delete(config.Contexts, name)
	if config.CurrentContext == name {
		config.CurrentContext = ""
	}
	if err := clientcmd.ModifyConfig(access, *config, false); err != nil {
		return fmt.Errorf("remove context %s from your kubeconfig: %w", name, err)
	}
	return nil
}

// absolute makes path independent of the working directory.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
