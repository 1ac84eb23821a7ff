package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"minato/internal/controlplane/pki"
)

// Certificate is what one file of a cluster's certificates says.
type Certificate = pki.Certificate

// ListCertificates reads the certificates of a cluster, also of one that is down.
func ListCertificates(name string) ([]Certificate, error) {
	if err := ValidateName(name); err != nil {
		return nil, SettingError{err}
	}
	if err := RequireRoot(); err != nil {
		return nil, err
	}
	c, err := LoadConfig(name)
	if err != nil {
		return nil, err
	}
	all, err := pki.ReadDir(filepath.Join(Paths{Name: name}.ControlPlane(c.Ephemeral), "pki"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cluster %q has no certificates: `minato up%s` makes them", name, nameFlag(name))
	}
	return all, err
}

// followCertificates brings what holds a certificate outside of the control plane
// up to date, after the start and after each renewal: the kubeconfigs, and the
// ConfigMaps with the CA. New connections of kubectl then use the new certificate;
// the one before is good until it expires.
func (s *Server) followCertificates(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.started:
	}
	s.renewKubeconfigs() // also after a start that has renewed what was about to expire
	return eachRenewal(ctx, s.renewed, func() error {
		if err := s.writeAdminKubeconfig(); err != nil {
			return err
		}
		s.renewKubeconfigs()
		return s.keepInfoMaps(ctx)
	})
}

// eachRenewal calls follow after each renewal until ctx ends. One that could not be
// followed is the first one of the next call: there may be none for months.
func eachRenewal(ctx context.Context, renewed chan struct{}, follow func() error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-renewed:
		}
		if err := follow(); err != nil {
			select {
			case renewed <- struct{}{}:
			default: // there was another one meanwhile
			}
			return err
		}
	}
}

// certificatesRenewed is what the authority calls.
func (s *Server) certificatesRenewed() {
	select {
	case s.renewed <- struct{}{}:
	default: // followCertificates is going to look
	}
}

// renewKubeconfigs gives the administrator's certificate to the kubeconfigs that
// `up` has written for people, where they still have one of this cluster's.
func (s *Server) renewKubeconfigs() {
	authority, name := s.control.PKI(), s.cfg.ContextName()
	admin := authority.AdminConfig(s.cfg.Server(), name)
	for _, file := range s.paths.givenKubeconfigs() {
		if _, err := os.Stat(file); err != nil {
			continue // it was removed
		}
		err := kubefile{file}.modify(func(config *clientcmdapi.Config) (bool, error) {
			return renewContext(config, admin, name, authority.IssuedToAdmin), nil
		})
		if err != nil {
			s.log.Warn("The administrator's renewed certificate cannot be written to a kubeconfig; `minato kubeconfig --merge` does that", "file", file, "error", err)
		}
	}
}

// renewContext replaces the cluster and the user of a context by those of admin.
// A user that is not ours any more is left alone, and so is one without the key: a
// certificate is no secret, and who has no more than that gets no new one.
func renewContext(config, admin *clientcmdapi.Config, name string, ours func(certPEM, keyPEM []byte) bool) (changed bool) {
	have := config.AuthInfos[name]
	if config.Contexts[name] == nil || have == nil || !ours(have.ClientCertificateData, have.ClientKeyData) {
		return false
	}
	next := admin.AuthInfos[name]
	if bytes.Equal(have.ClientCertificateData, next.ClientCertificateData) {
		return false
	}
	have.ClientCertificateData, have.ClientKeyData = next.ClientCertificateData, next.ClientKeyData
	// A cluster without CA data is one that people have set up in another way, and kubectl
	// takes no CA beside insecure-skip-tls-verify.
	if c := config.Clusters[name]; c != nil && len(c.CertificateAuthorityData) > 0 {
		c.CertificateAuthorityData = admin.Clusters[name].CertificateAuthorityData
	}
	return true
}

// maxGiven bounds how many kubeconfigs of people are remembered.
const maxGiven = 32

// givenKubeconfigs are the files that people got the administrator's context in.
func (p Paths) givenKubeconfigs() []string {
	data, err := os.ReadFile(p.Given())
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// rememberKubeconfig notes that file got the administrator's context. Paths with
// white space are not noted, nor those that cannot be found again.
func (p Paths) rememberKubeconfig(file string) error {
	file, err := absolute(file)
	if err != nil || strings.ContainsFunc(file, func(r rune) bool { return r <= ' ' }) {
		return err
	}
	all := p.givenKubeconfigs()
	if slices.Contains(all, file) {
		return nil
	}
	all = append(all, file)
	all = all[max(0, len(all)-maxGiven):]
	return writeFile(p.Given(), []byte(strings.Join(all, "\n")+"\n"), 0o600)
}
