package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"

	corev1 "k8s.io/api/core/v1"
)

// The keys of a Secret with authorities.
const (
	caKey  = "ca.crt"
	crlKey = "ca.crl"
)

// Authorities are who may have signed a certificate, and what they have revoked.
type Authorities struct {
	Pool *x509.CertPool
	// Certificates are those in Pool; Subjects are their names in DER, for the question to clients.
	Certificates []*x509.Certificate
	Subjects     [][]byte
	// CRL are lists that one of the authorities has signed.
	CRL []*x509.RevocationList
}

// CAs reads ca.crt, and ca.crl if it is there. The error is an *Error: a list that can't be read, or that no authority
// of ca.crt has signed, is one, since certificates that it revokes would pass.
func CAs(s *corev1.Secret) (*Authorities, error) {
	raw, err := data(s, caKey)
	if err != nil {
		return nil, err
	}
	list, err := certificates(s, caKey, raw)
	if err != nil {
		return nil, err
	}
	a := &Authorities{Pool: x509.NewCertPool(), Certificates: list}
	for _, c := range list {
		a.Pool.AddCert(c)
		a.Subjects = append(a.Subjects, c.RawSubject)
	}
	if crl := s.Data[crlKey]; len(crl) > 0 {
		if a.CRL, err = revoked(s, crl, list); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// ClientPair is what a backend is shown, and what its certificate is verified with. Either may be absent.
type ClientPair struct {
	Certificate, Key []byte // PEM
	CAs              *x509.CertPool
}

// Client reads tls.crt with tls.key, ca.crt, or both. The error is an *Error.
func Client(s *corev1.Secret) (*ClientPair, error) {
	c := &ClientPair{}
	if len(s.Data[corev1.TLSCertKey]) > 0 || len(s.Data[corev1.TLSPrivateKeyKey]) > 0 {
		if _, err := keyPair(s); err != nil {
			return nil, err
		}
		c.Certificate, c.Key = s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	}
	if len(s.Data[caKey]) > 0 {
		a, err := CAs(s)
		if err != nil {
			return nil, err
		}
		c.CAs = a.Pool
	}
	if c.Certificate == nil && c.CAs == nil {
		return nil, bad(s, caKey, "the Secret has neither ca.crt nor tls.crt and tls.key; add one of them")
	}
	return c, nil
}

// certificates parses all certificates of a PEM text; there must be one at least.
func certificates(s *corev1.Secret, key string, raw []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, bad(s, key, "certificate %d can't be read (%s); replace it", len(list)+1, trim(err))
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, bad(s, key, "it has no certificate in PEM; put one there")
	}
	return list, nil
}

// revoked parses lists of revoked certificates, and verifies who signed them.
func revoked(s *corev1.Secret, raw []byte, authorities []*x509.Certificate) ([]*x509.RevocationList, error) {
	var out []*x509.RevocationList
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		l, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, bad(s, crlKey, "list %d can't be read (%s); replace it", len(out)+1, trim(err))
		}
		if !signed(l, authorities) {
			return nil, bad(s, crlKey, "list %d is not signed by an authority of ca.crt; replace it", len(out)+1)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, bad(s, crlKey, "it has no list of revoked certificates in PEM; put one there or remove the key")
	}
	return out, nil
}

func signed(l *x509.RevocationList, authorities []*x509.Certificate) bool {
	for _, c := range authorities {
		if bytes.Equal(c.RawSubject, l.RawIssuer) && l.CheckSignatureFrom(c) == nil {
			return true
		}
	}
	return false
}
