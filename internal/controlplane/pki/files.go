package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	extCert = ".crt"
	extKey  = ".key"
)

// loadCA returns the named CA, making it on first use. Its key is never
// replaced: a key that can't be read, or is missing while its certificate is there,
// is an error, because with a new one the certificates of all clients and nodes would
// be void.
func (a *Authority) loadCA(file, name string) (*issuer, error) {
	certPath := filepath.Join(a.cfg.Dir, file+extCert)
	key, err := readKey(filepath.Join(a.cfg.Dir, file+extKey))
	_, had := os.Lstat(certPath) // the key is always written first
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(had, fs.ErrNotExist):
		if key, err = newKey(); err != nil {
			return nil, err
		}
		if err = writeKey(filepath.Join(a.cfg.Dir, file+extKey), key); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("pki: %w; restore the file, or remove the whole directory to start a new cluster identity", err)
	}

	now := a.cfg.Now()
	if data, readErr := os.ReadFile(certPath); readErr == nil {
		cert, parseErr := parseCert(data)
		if parseErr == nil && key.PublicKey.Equal(cert.PublicKey) && !expiring(cert, now, caShare) {
			a.plan.add(cert, caShare)
			return &issuer{cert: cert, certPEM: data, key: key}, nil
		}
	}
	ca, err := selfSign(name, key, now)
	if err != nil {
		return nil, err
	}
	if err := writeFile(certPath, ca.certPEM, 0o644); err != nil {
		return nil, err
	}
	a.renewed = true
	a.plan.add(ca.cert, caShare)
	return ca, nil
}

// loadLeaf returns the certificate in file if it fits spec, else a new one.
// The key is written before the certificate; a pair torn by a kill in between
// doesn't match and is issued again.
func (a *Authority) loadLeaf(ca *issuer, file string, spec leafSpec) (Pair, error) {
	base := filepath.Join(a.cfg.Dir, file)
	if pair, err := readPair(base); err == nil {
		if cert, err := parseCert(pair.Cert); err == nil && spec.fits(cert, ca, a.cfg.Now()) {
			a.plan.add(cert, leafShare)
			return pair, nil
		}
	}
	pair, err := ca.issue(spec, a.cfg.Now())
	if err != nil {
		return Pair{}, err
	}
	if err := writeFile(base+extKey, pair.Key, 0o600); err != nil {
		return Pair{}, err
	}
	if err := writeFile(base+extCert, pair.Cert, 0o644); err != nil {
		return Pair{}, err
	}
	a.renewed = true
	cert, err := parseCert(pair.Cert)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: read %s again: %w", file, err)
	}
	a.plan.add(cert, leafShare)
	return pair, nil
}

// loadServiceAccountKey returns the token signing key, making it on first use. As a
// CA's, it is never replaced.
func (a *Authority) loadServiceAccountKey() (*ecdsa.PrivateKey, error) {
	keyPath, pubPath := filepath.Join(a.cfg.Dir, fileSAKey), filepath.Join(a.cfg.Dir, fileSAPub)
	key, err := readKey(keyPath)
	_, had := os.Lstat(pubPath) // the key is always written first
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(had, fs.ErrNotExist):
		if key, err = newKey(); err != nil {
			return nil, err
		}
		if err = writeKey(keyPath, key); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("pki: %w; restore the file: tokens signed with it are in use", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("pki: encode %s: %w", fileSAPub, err)
	}
	pub := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if have, err := os.ReadFile(pubPath); err == nil && string(have) == string(pub) {
		return key, nil
	}
	return key, writeFile(pubPath, pub, 0o644)
}

func readPair(base string) (Pair, error) {
	cert, err := os.ReadFile(base + extCert)
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(base + extKey)
	if err != nil {
		return Pair{}, err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return Pair{}, err
	}
	return Pair{Cert: cert, Key: key}, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("read key %s: no PEM block", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	return key, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	data, err := encodeKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, data, 0o600)
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("pki: encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// writeFile replaces path in one step. The rename is what readers see; a file
// half written by a killed process is never found under its name.
func writeFile(path string, data []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("pki: write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("pki: write %s: %w", path, err)
	}
	return nil
}
