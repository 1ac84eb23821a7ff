package nginx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

// cluster is what annotations refer to.
type cluster struct {
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	services   map[types.NamespacedName]*corev1.Service
}

func (c *cluster) Secret(n types.NamespacedName) *corev1.Secret       { return c.secrets[n] }
func (c *cluster) ConfigMap(n types.NamespacedName) *corev1.ConfigMap { return c.configMaps[n] }
func (c *cluster) Service(n types.NamespacedName) *corev1.Service     { return c.services[n] }

func (c *cluster) secret(ns, n string, data map[string]string) {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: n}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	c.secrets[name(ns, n)] = s
}

func (c *cluster) configMap(ns, n string, data map[string]string) {
	c.configMaps[name(ns, n)] = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: n}, Data: data}
}

// newCluster has all objects that the examples of the annotations name.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{secrets: map[types.NamespacedName]*corev1.Secret{}, configMaps: map[types.NamespacedName]*corev1.ConfigMap{}, services: map[types.NamespacedName]*corev1.Service{}}
	c.secret("shop", "users", map[string]string{"auth": "ann:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n"}) // test
	c.secret("shop", "map", map[string]string{"bob": "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="})
	c.secret("other", "users", map[string]string{"auth": "eve:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n"})
	pair := made()
	ca, crt, key := pair[0], pair[0], pair[1]
	c.secret("shop", "clients-ca", map[string]string{"ca.crt": ca})
	c.secret("shop", "backend-tls", map[string]string{"tls.crt": crt, "tls.key": key, "ca.crt": ca})
	c.secret("shop", "pair-only", map[string]string{"tls.crt": crt, "tls.key": key})
	c.configMap("shop", "answer-headers", map[string]string{"X-Answer": "yes $remote_addr"})
	c.configMap("shop", "auth-headers", map[string]string{"X-Asked": "$host"})
	c.configMap("shop", "fastcgi-params", map[string]string{"SCRIPT_FILENAME": "/var/www$uri"})
	c.configMap("ingress-nginx", "to-backends", map[string]string{"X-To": "$host"})
	c.configMap("ingress-nginx", "to-clients", map[string]string{"X-From": "minato"})
	c.services[name("shop", "errors")] = &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "errors"}}
	return c
}

// made is a certificate that is its own authority and its key, in PEM, made once.
var made = sync.OnceValue(func() [2]string {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, DNSNames: []string{"shop.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		panic(err)
	}
	raw, err := x509.MarshalECPrivateKey(priv)
	if err != nil {
		panic(err)
	}
	return [2]string{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})),
	}
})

// ingress makes an Ingress of namespace shop with annotations: names without prefix and values in turn.
func ingress(pairs ...string) *networkingv1.Ingress {
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{}}}
	for i := 0; i < len(pairs); i += 2 {
		ing.Annotations[DefaultPrefix+"/"+pairs[i]] = pairs[i+1]
	}
	return ing
}

// testDefaults let an annotation's example through.
func testDefaults() *Defaults {
	d := NewDefaults()
	d.Passthrough = true
	d.ResponseHeaders = []string{"x-answer"}
	return d
}

// read reads annotations for class nginx.
func read(t testing.TB, pairs ...string) (table.Options, []table.Finding) {
	t.Helper()
	o, f, _ := Read(ingress(pairs...), table.ClassNginx, testDefaults(), newCluster(t))
	return o, f
}

// about returns the findings about an annotation.
func about(findings []table.Finding, name string) []table.Finding {
	var out []table.Finding
	for _, f := range findings {
		if f.Field == DefaultPrefix+"/"+name {
			out = append(out, f)
		}
	}
	return out
}

func messages(findings []table.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString(f.Reason + ": " + f.Message + "\n")
	}
	return b.String()
}

// plain compares values with patterns by their text and pools of certificates by content.
func plain() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b *regex.Regexp) bool {
			return (a == nil) == (b == nil) && (a == nil || a.String() == b.String())
		}),
		cmp.Comparer(func(a, b *x509.CertPool) bool { return (a == nil) == (b == nil) && (a == nil || a.Equal(b)) }),
		cmpopts.EquateComparable(types.NamespacedName{}, netip.Prefix{}),
	}
}

// text makes a Text of literals and variables: a string that begins with $ is not parsed here.
func text(parts ...any) *table.Text {
	t := &table.Text{}
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			t.Parts = append(t.Parts, table.Part{Literal: p})
		case table.Var:
			t.Parts = append(t.Parts, table.Part{Var: p})
		case table.Part:
			t.Parts = append(t.Parts, p)
		}
	}
	return t
}

func capture(n string) table.Part { return table.Part{Var: table.VarCapture, Name: n} }
