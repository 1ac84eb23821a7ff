package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// writeCertificates makes one certificate with an RSA key of 2048 bits, and one with a key on P-256.
func writeCertificates(dir string) error {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	for kind, key := range map[string]crypto.Signer{"rsa": rsaKey, "ecdsa": ecKey} {
		names := []string{hostOf(kind)}
		if kind == "ecdsa" {
			names = append(names, grpcHost)
		}
		if err := writeCertificate(filepath.Join(dir, kind), key, names); err != nil {
			return err
		}
	}
	return nil
}

func writeCertificate(file string, key crypto.Signer, names []string) error {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pk := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for ending, text := range map[string][]byte{".crt": crt, ".key": pk, ".pem": append(append([]byte(nil), crt...), pk...)} {
		if err := os.WriteFile(file+ending, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
