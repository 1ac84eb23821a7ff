package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	// backdate lets machines whose clock is a little behind accept a new certificate.
	backdate = time.Hour
	// A certificate is renewed when this part of its life is left, as 1/n.
	caShare   = 10
	leafShare = 3
)

// Pair is a certificate and its key, in PEM.
type Pair struct {
	Cert, Key []byte
}

// issuer is a CA.
type issuer struct {
	cert    *x509.Certificate
	certPEM []byte
	key     *ecdsa.PrivateKey
}

// leafSpec is what a certificate must say.
type leafSpec struct {
	CommonName    string
	Organizations []string
	DNSNames      []string
	Addresses     []netip.Addr
	Usage         x509.ExtKeyUsage
}

// fits says whether an existing certificate may be kept: it says the same,
// comes from this CA, and more than a third of its life is left.
func (s leafSpec) fits(cert *x509.Certificate, ca *issuer, now time.Time) bool {
	if expiring(cert, now, leafShare) || cert.CheckSignatureFrom(ca.cert) != nil {
		return false
	}
	if cert.Subject.CommonName != s.CommonName ||
		!sameSet(cert.Subject.Organization, s.Organizations) ||
		!sameSet(cert.DNSNames, s.DNSNames) ||
		!slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{s.Usage}) {
		return false
	}
	have := make([]string, 0, len(cert.IPAddresses))
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	want := make([]string, 0, len(s.Addresses))
	for _, addr := range s.Addresses {
		want = append(want, addr.Unmap().String())
	}
	return sameSet(have, want)
}

// expiring says whether less than 1/part of a certificate's life is left, or
// whether it isn't valid yet.
func expiring(cert *x509.Certificate, now time.Time, part int64) bool {
	return now.Before(cert.NotBefore) || now.After(renewal(cert, part))
}

// renewal is when 1/part of a certificate's life is left.
func renewal(cert *x509.Certificate, part int64) time.Time {
	life := cert.NotAfter.Sub(cert.NotBefore)
	return cert.NotAfter.Add(-life / time.Duration(part))
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: generate key: %w", err)
	}
	return key, nil
}

// selfSign issues a CA certificate for key. A CA whose certificate is renewed
// keeps key and name, so what it signed before stays valid.
func selfSign(name string, key *ecdsa.PrivateKey, now time.Time) (*issuer, error) {
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             now.Add(-backdate).UTC(),
		NotAfter:              now.Add(caLifetime).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		SubjectKeyId:          id,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pki: issue CA %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: issue CA %s: %w", name, err)
	}
	return &issuer{cert: cert, certPEM: encodeCert(der), key: key}, nil
}

// issue makes a new key and a certificate for it.
func (ca *issuer) issue(spec leafSpec, now time.Time) (Pair, error) {
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return Pair{}, err
	}
	notAfter := now.Add(leafLifetime)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: spec.CommonName, Organization: spec.Organizations},
		DNSNames:              spec.DNSNames,
		NotBefore:             now.Add(-backdate).UTC(),
		NotAfter:              notAfter.UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{spec.Usage},
		BasicConstraintsValid: true,
	}
	for _, addr := range spec.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.Unmap().AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: issue certificate for %s: %w", spec.CommonName, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: encodeCert(der), Key: keyPEM}, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("pki: generate serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

// keyID is the same for the same key, which is what ties old leaves to a renewed CA.
func keyID(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("pki: encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return bytes.Clone(sum[:20]), nil
}
