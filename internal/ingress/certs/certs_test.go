package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var expires = time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)

func issue(t *testing.T, by *pair, cn string, names ...string) *pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: cn}, DNSNames: names, NotBefore: time.Unix(0, 0), NotAfter: expires,
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature}
	parent, signer := tmpl, crypto.Signer(key)
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{cert, key}
}

func (p *pair) crt() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
}

func (p *pair) pem(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (p *pair) crl(t *testing.T, serials ...int64) string {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Unix(0, 0), NextUpdate: expires}
	for _, s := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Unix(0, 0)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func secret(pairs ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tls"}, Data: map[string][]byte{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Data[pairs[i]] = []byte(pairs[i+1])
	}
	return s
}

func TestCertificate(t *testing.T) {
	ca := issue(t, nil, "ca")
	leaf := issue(t, ca, "old.test", "Shop.Test", "*.shop.test.")
	c, err := Certificate(secret("tls.crt", leaf.crt()+ca.crt(), "tls.key", leaf.pem(t)))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"shop.test", "*.shop.test"}; !slices.Equal(c.Names, want) || !c.NotAfter.Equal(expires) || len(c.Pair.Certificate) != 2 || c.Pair.Leaf == nil || c.Secret.String() != "shop/tls" {
		t.Errorf("%+v, want names %v", c, want)
	}
	// The common name counts if there are no DNS names.
	old := issue(t, ca, "Old.Test")
	if c, err = Certificate(secret("tls.crt", old.crt(), "tls.key", old.pem(t))); err != nil || !slices.Equal(c.Names, []string{"old.test"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

// What is wrong with a Secret is said with its name, the key and what to do.
func TestCertificateErrors(t *testing.T) {
	ca := issue(t, nil, "ca.test")
	other := issue(t, nil, "other.test")
	nameless := issue(t, ca, "Our Company")
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("nonsense")}))
	for _, c := range []struct {
		what    string
		s       *corev1.Secret
		key     string
		missing bool
		says    string
	}{
		{"no certificate", secret("tls.key", ca.pem(t)), "tls.crt", true, "missing"},
		{"no key", secret("tls.crt", ca.crt()), "tls.key", true, "missing"},
		{"no PEM", secret("tls.crt", "x", "tls.key", ca.pem(t)), "tls.crt", false, "no certificate in PEM"},
		{"a certificate that isn't one", secret("tls.crt", ca.crt()+broken, "tls.key", ca.pem(t)), "tls.crt", false, "certificate 2"},
		{"the key of another", secret("tls.crt", ca.crt(), "tls.key", other.pem(t)), "tls.key", false, "belong together"},
		{"a key that isn't one", secret("tls.crt", ca.crt(), "tls.key", "x"), "tls.key", false, "private key"},
		{"no host", secret("tls.crt", nameless.crt(), "tls.key", nameless.pem(t)), "tls.crt", false, "names no host"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := Certificate(c.s)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is no *Error", err)
			}
			if e.Key != c.key || e.Missing != c.missing || e.Secret.String() != "shop/tls" || !strings.Contains(e.Error(), c.says) || !strings.Contains(e.Error(), "shop/tls") {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestCAs(t *testing.T) {
	a, b := issue(t, nil, "a"), issue(t, nil, "b")
	got, err := CAs(secret("ca.crt", a.crt()+b.crt(), "ca.crl", a.crl(t, 7)+b.crl(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Certificates) != 2 || len(got.Subjects) != 2 || len(got.CRL) != 2 || len(got.CRL[0].RevokedCertificateEntries) != 1 {
		t.Errorf("%+v", got)
	}
	leaf := issue(t, a, "client")
	if _, err := leaf.cert.Verify(x509.VerifyOptions{Roots: got.Pool, CurrentTime: time.Unix(1, 0), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	// A list that can't be trusted is no list: certificates that it revokes would pass.
	for what, s := range map[string]*corev1.Secret{
		"no authority":        secret("ca.crl", a.crl(t)),
		"a list of another":   secret("ca.crt", a.crt(), "ca.crl", b.crl(t)),
		"no list in PEM":      secret("ca.crt", a.crt(), "ca.crl", "x"),
		"a list that is none": secret("ca.crt", a.crt(), "ca.crl", "-----BEGIN X509 CRL-----\neHg=\n-----END X509 CRL-----\n"),
	} {
		var e *Error
		if _, err := CAs(s); !errors.As(err, &e) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestClient(t *testing.T) {
	ca := issue(t, nil, "ca")
	for what, s := range map[string]*corev1.Secret{
		"both":        secret("ca.crt", ca.crt(), "tls.crt", ca.crt(), "tls.key", ca.pem(t)),
		"a pair":      secret("tls.crt", ca.crt(), "tls.key", ca.pem(t)),
		"authorities": secret("ca.crt", ca.crt()),
	} {
		c, err := Client(s)
		if err != nil || (c.CAs != nil) != (s.Data["ca.crt"] != nil) || (len(c.Key) > 0) != (s.Data["tls.key"] != nil) {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
	for what, s := range map[string]*corev1.Secret{
		"nothing":     secret(),
		"half a pair": secret("tls.crt", ca.crt(), "ca.crt", ca.crt()),
		"wrong pair":  secret("tls.crt", ca.crt(), "tls.key", issue(t, nil, "x").pem(t)),
	} {
		if c, err := Client(s); err == nil {
			t.Errorf("%s: %+v", what, c)
		}
	}
}

func TestUsers(t *testing.T) {
	const sha = "{SHA}+zGofIcyQaHgzBP6zRnbOazIIxA="
	users, problems, err := Users(secret("auth", "# comment\n\nann:"+sha+":comment\r\nann:{PLAIN}second\nold:abiQ6Ep3EYTHc\nbroken\nbob:"+sha), AuthFile, "")
	if err != nil || len(users) != 2 || users["ann"] != sha || users["bob"] != sha {
		t.Errorf("users %v, %v", users, err)
	}
	if len(problems) != 2 || !strings.Contains(problems[0], `"old"`) || !strings.Contains(problems[0], "DES") || strings.Contains(strings.Join(problems, ""), "abiQ") {
		t.Errorf("problems %q", problems)
	}
	users, problems, err = Users(secret("ann", sha+"\n", "bob", "plain"), AuthMap, "")
	if err != nil || len(users) != 1 || users["ann"] != sha || len(problems) != 1 {
		t.Errorf("a map: %v, %q, %v", users, problems, err)
	}
	const ha1 = "939E7578ed9e3c518a452acee763bce9"
	users, problems, err = Users(secret("auth", "mufasa:r:"+ha1+"\nx:other:"+ha1+"\ny:"+ha1+"\nz:r:short\n"), AuthFile, "r")
	if err != nil || len(users) != 1 || users["mufasa"] != strings.ToLower(ha1) || len(problems) != 3 {
		t.Errorf("digest: %v, %q, %v", users, problems, err)
	}
	if _, _, err = Users(secret("users", "x"), AuthFile, ""); err == nil {
		t.Error("a Secret without auth passes")
	}
	if users, problems, err = Users(secret("auth", "\n"), AuthFile, ""); err != nil || len(users) != 0 || len(problems) != 1 {
		t.Errorf("an empty file: %v, %q, %v", users, problems, err)
	}
}

// Whatever a Secret has, reading it ends with a value or an *Error.
func FuzzSecret(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\neHg=\n-----END CERTIFICATE-----\n"), []byte("a:{SHA}x\n"))
	f.Add([]byte("-----BEGIN X509 CRL-----\neHg=\n-----END X509 CRL-----\n"), []byte("a:r:b"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		s := secret("tls.crt", string(a), "tls.key", string(b), "ca.crt", string(a), "ca.crl", string(b), "auth", string(b))
		var e *Error
		if _, err := Certificate(s); err != nil && !errors.As(err, &e) {
			t.Error(err)
		}
		if _, err := CAs(s); err != nil && !errors.As(err, &e) {
			t.Error(err)
		}
		if _, err := Client(s); err != nil && !errors.As(err, &e) {
			t.Error(err)
		}
		for _, realm := range []string{"", "r"} {
			if _, _, err := Users(s, AuthFile, realm); err != nil && !errors.As(err, &e) {
				t.Error(err)
			}
		}
	})
}
