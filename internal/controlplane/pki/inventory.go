package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Certificate is what one file of a cluster's certificates says.
type Certificate struct {
	Name      string    `json:"name"` // the file without its extension, such as apiserver or nodes/node-1-serving
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"` // the common name of the CA
	CA        bool      `json:"ca"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// RenewAt is when the server replaces it, if it runs then.
	RenewAt time.Time `json:"renewAt"`
}

// ReadDir lists the certificates in a directory that Open has made, CAs first and
// then by name. It changes nothing, and needs no server. A file that cannot be
// read as a certificate is an error that names it.
func ReadDir(dir string) ([]Certificate, error) {
	var all []Certificate
	var errs []error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != extCert || strings.HasPrefix(d.Name(), ".") {
			if errors.Is(err, fs.ErrNotExist) && path != dir {
				return nil // of a node that was removed meanwhile
			}
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		var cert *x509.Certificate
		if err == nil {
			cert, err = parseCert(data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("certificate %s: %w", path, err))
			return nil
		}
		name, _ := filepath.Rel(dir, strings.TrimSuffix(path, extCert))
		all = append(all, describe(name, cert))
		return nil
	})
	slices.SortStableFunc(all, func(a, b Certificate) int {
		if a.CA != b.CA {
			if a.CA {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, errors.Join(append(errs, err)...)
}

func describe(name string, cert *x509.Certificate) Certificate {
	share := int64(leafShare)
	if cert.IsCA {
		share = caShare
	}
	return Certificate{
		Name: name, Subject: cert.Subject.String(), Issuer: cert.Issuer.CommonName, CA: cert.IsCA,
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, RenewAt: renewal(cert, share),
	}
}

// IssuedToAdmin tells whether a certificate is the administrator's, as this cluster has
// issued it now or earlier, also one of an earlier certificate of the same CA, and the
// key is that of the certificate.
func (a *Authority) IssuedToAdmin(certPEM, keyPEM []byte) bool {
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return false
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return cert.Subject.CommonName == AdminName && cert.CheckSignatureFrom(a.ca.cert) == nil
}
