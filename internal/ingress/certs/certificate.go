package certs

import (
	"crypto/tls"
	"crypto/x509"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/ingress/table"
)

// Certificate reads the certificate of a host from the keys tls.crt and tls.key, as Secrets of type kubernetes.io/tls
// have them: the host's certificate first, then those of its authorities. The error is an *Error.
func Certificate(s *corev1.Secret) (*table.Certificate, error) {
	pair, err := keyPair(s)
	if err != nil {
		return nil, err
	}
	names := Names(pair.Leaf)
	if len(names) == 0 {
		return nil, bad(s, corev1.TLSCertKey, "the certificate names no host, neither as a DNS name nor as common name; make one that does")
	}
	return &table.Certificate{Secret: nameOf(s), Names: names, NotAfter: pair.Leaf.NotAfter, Pair: pair}, nil
}

// Names returns the hosts that a certificate covers, in lower case: its DNS names, else its common name.
func Names(c *x509.Certificate) []string {
	var names []string
	for _, n := range c.DNSNames {
		if n = canonical(n); n != "" {
			names = append(names, n)
		}
	}
	if len(c.DNSNames) == 0 {
		if n := canonical(c.Subject.CommonName); n != "" {
			names = append(names, n)
		}
	}
	return names
}

// canonical returns a host's name in lower case without a dot at its end; "" for what is none.
func canonical(n string) string {
	n = strings.ToLower(strings.TrimSuffix(n, "."))
	if strings.ContainsAny(n, " /:@") || strings.Contains(strings.TrimPrefix(n, "*."), "*") {
		return ""
	}
	return n
}

// keyPair reads tls.crt and tls.key.
func keyPair(s *corev1.Secret) (*tls.Certificate, error) {
	crt, err := data(s, corev1.TLSCertKey)
	if err != nil {
		return nil, err
	}
	key, err := data(s, corev1.TLSPrivateKeyKey)
	if err != nil {
		return nil, err
	}
	// Each is looked at alone first, so that the error can name the one that is wrong.
	chain, err := certificates(s, corev1.TLSCertKey, crt)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return nil, bad(s, corev1.TLSPrivateKeyKey, "it is not the private key of the first certificate in tls.crt in PEM (%v); put the two that belong together", trim(err))
	}
	pair.Leaf = chain[0]
	return &pair, nil
}

// trim removes the name of the library from an error of it.
func trim(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: "), "x509: ")
}
