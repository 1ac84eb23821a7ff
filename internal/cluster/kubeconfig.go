package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ErrNoContext says that a kubeconfig has no context of the cluster.
var ErrNoContext = errors.New("no such context")

// kubeconfigs are the files that a context is merged into or taken out of: the
// one that is named, or else the user's own, those of $KUBECONFIG or
// ~/.kube/config.
type kubeconfigs struct {
	files []string // in the order in which kubectl looks
	added string   // the file that gets what is in none of them
}

func findKubeconfigs(file string) kubeconfigs {
	if file != "" {
		return kubeconfigs{[]string{file}, file}
	}
	options := clientcmd.NewDefaultPathOptions()
	k := kubeconfigs{options.GetLoadingPrecedence(), options.GetDefaultFilename()}
	if !slices.Contains(k.files, k.added) {
		k.files = append(k.files, k.added)
	}
	return k
}

// merge puts the context that admin has into the file that has one of that name,
// or else into the file for what is added. use says when the context becomes the
// current one.
func (k kubeconfigs) merge(admin *clientcmdapi.Config, name string, use useContext) (file string, err error) {
	file = k.added
	current := "" // the file whose current context counts
	for _, f := range slices.Backward(k.files) {
		switch config, err := clientcmd.LoadFromFile(f); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("read kubeconfig %s: %w; repair it, or name another file", f, err)
		default:
			if config.Contexts[name] != nil {
				file = f
			}
			if config.CurrentContext != "" {
				current = f
			}
		}
	}
	uses := use == useAlways || use == useIfNone && current == ""
	if current == "" {
		current = file
	}
	err = kubefile{file}.modify(func(config *clientcmdapi.Config) (bool, error) {
		config.Clusters[name], config.AuthInfos[name], config.Contexts[name] = admin.Clusters[name], admin.AuthInfos[name], admin.Contexts[name]
		if uses && current == file {
			config.CurrentContext = name
		}
		return true, nil
	})
	if err == nil && uses && current != file {
		err = kubefile{current}.modify(func(config *clientcmdapi.Config) (bool, error) {
			config.CurrentContext = name
			return true, nil
		})
	}
	return file, err
}

// useContext says when a context that is merged becomes the current one.
type useContext int

const (
	useAlways useContext = iota
	useIfNone            // only where there is no current one
)

// remove takes the context out of all files, with its cluster and its user, and
// returns those that had it. Other contexts stay as they are, and so do a cluster
// and a user that one of them names.
func (k kubeconfigs) remove(name string) (from []string, err error) {
	var errs []error
	for _, f := range k.files {
		had := false
		err := kubefile{f}.modify(func(config *clientcmdapi.Config) (bool, error) {
			context := config.Contexts[name]
			if had = context != nil; !had {
				return false, nil
			}
			delete(config.Contexts, name)
			if config.CurrentContext == name {
				config.CurrentContext = ""
			}
			if !names(config, func(c *clientcmdapi.Context) bool { return c.Cluster == name }) {
				delete(config.Clusters, name)
			}
			if !names(config, func(c *clientcmdapi.Context) bool { return c.AuthInfo == name }) {
				delete(config.AuthInfos, name)
			}
			return true, nil
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("remove context %s: %w", name, err))
		} else if had {
			from = append(from, f)
		}
	}
	return from, errors.Join(errs...)
}

func names(config *clientcmdapi.Config, is func(*clientcmdapi.Context) bool) bool {
	for _, c := range config.Contexts {
		if is(c) {
			return true
		}
	}
	return false
}

// Kubeconfig returns the administrator's kubeconfig of a cluster.
func Kubeconfig(name string) ([]byte, error) {
	_, admin, err := readAdmin(name)
	if err != nil {
		return nil, err
	}
	return clientcmd.Write(*admin)
}

// MergeKubeconfig puts the cluster's context into file, or into the user's own
// kubeconfig if file is empty, and returns the file and the context. current
// makes it the current one also where another is.
func MergeKubeconfig(name, file string, current bool) (merged, context string, err error) {
	c, admin, err := readAdmin(name)
	if err != nil {
		return "", "", err
	}
	use := useIfNone
	if current {
		use = useAlways
	}
	merged, err = findKubeconfigs(file).merge(admin, c.ContextName(), use)
	if err == nil {
		err = Paths{Name: name}.rememberKubeconfig(merged)
	}
	return merged, c.ContextName(), err
}

// RemoveKubeconfig takes the context of a cluster, which need not exist any more,
// out of file or, if file is empty, of the user's own kubeconfig. It returns the
// files that had it, or ErrNoContext.
func RemoveKubeconfig(name, file string) (from []string, context string, err error) {
	if err := ValidateName(name); err != nil {
		return nil, "", SettingError{err}
	}
	context = Config{Name: name}.ContextName()
	k := findKubeconfigs(file)
	from, err = k.remove(context)
	if err == nil && len(from) == 0 {
		err = fmt.Errorf("context %q: %w in %s", context, ErrNoContext, strings.Join(k.files, ", "))
	}
	return from, context, err
}

// readAdmin reads the kubeconfig that the cluster's server has written.
func readAdmin(name string) (Config, *clientcmdapi.Config, error) {
	if err := ValidateName(name); err != nil {
		return Config{}, nil, SettingError{err}
	}
	if err := RequireRoot(); err != nil {
		return Config{}, nil, err
	}
	c, err := LoadConfig(name)
	if err != nil {
		return c, nil, err
	}
	admin, err := clientcmd.LoadFromFile(Paths{Name: name}.Kubeconfig())
	if err != nil {
		return c, nil, fmt.Errorf("read the administrator's kubeconfig, which the first `minato up%s` makes: %w", nameFlag(name), err)
	}
	return c, admin, nil
}

// writeKubeconfig gives the user the cluster's context as the current one: in the
// user's own kubeconfig, or in file where one is named. It returns the file
// written.
func writeKubeconfig(c Config, admin *clientcmdapi.Config, file string) (string, error) {
	return findKubeconfigs(file).merge(admin, c.ContextName(), useAlways)
}

// removeKubeconfig takes the cluster's context out of the files that
// writeKubeconfig wrote to; other contexts stay as they are.
func removeKubeconfig(c Config) error {
	var errs []error
	if c.Kubeconfig != "" {
		errs = append(errs, removeOwnKubeconfig(c))
	}
	_, err := findKubeconfigs("").remove(c.ContextName())
	return errors.Join(append(errs, err)...)
}

// removeOwnKubeconfig removes the file that --kubeconfig named, unless the user
// has other contexts in it.
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
	_, err = findKubeconfigs(c.Kubeconfig).remove(c.ContextName())
	return err
}

// absolute makes path independent of the working directory.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
