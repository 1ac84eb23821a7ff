package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// Reasons of findings about Secrets of spec.tls.
const (
	reasonNoSecret  = "TLSSecretMissing"
	reasonBadSecret = "TLSSecretUnusable"
)

var errNoSecret = errors.New("there is no such Secret")

// certificates returns the certificates of an Ingress that can be used, and what is wrong with the others: their hosts have
// the default certificate.
func (l *loop) certificates(ing *networkingv1.Ingress) (map[string]*table.Certificate, []table.Finding) {
	var out map[string]*table.Certificate
	var findings []table.Finding
	for i := range ing.Spec.TLS {
		name := ing.Spec.TLS[i].SecretName
		if name == "" {
			continue
		}
		c, err := l.certificate(types.NamespacedName{Namespace: ing.Namespace, Name: name})
		if err == nil {
			if out == nil {
				out = map[string]*table.Certificate{}
			}
			out[name] = c
			continue
		}
		f := table.Finding{
			Ingress: types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}, Warning: true, Reason: reasonBadSecret,
			Field:   fmt.Sprintf("spec.tls[%d].secretName", i),
			Message: fmt.Sprintf("spec.tls[%d].secretName: %v. Its hosts have the default certificate until it is corrected.", i, err),
		}
		if errors.Is(err, errNoSecret) {
			f.Reason = reasonNoSecret
			f.Message = fmt.Sprintf("spec.tls[%d].secretName: there is no Secret %s/%s. Its hosts have the default certificate until it is created.", i, ing.Namespace, name)
		}
		findings = append(findings, f)
	}
	return out, findings
}

// defaultLife is how long the certificate of makeDefaultCertificate lasts. The process is started again more often.
const defaultLife = 365 * 24 * time.Hour

// makeDefaultCertificate makes the certificate for hosts that have none. Nobody trusts it.
func makeDefaultCertificate(now time.Time) (*tls.Certificate, error) {
	fail := func(err error) (*tls.Certificate, error) {
		return nil, fmt.Errorf("make the default certificate of the ingress: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fail(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Minato Ingress Default Certificate", Organization: []string{"Minato"}},
		DNSNames:     []string{"ingress.local"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(defaultLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fail(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fail(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
