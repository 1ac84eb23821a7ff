package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, dir string, c *clock, addrs ...string) *Authority {
	t.Helper()
	cfg := Config{Dir: dir, DNSNames: []string{"kubernetes"}, Now: c.Now}
	for _, a := range addrs {
		cfg.Addresses = append(cfg.Addresses, netip.MustParseAddr(a))
	}
	a, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func cert(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	c, err := parseCert(data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verify checks that a certificate is good for usage at the clock's time.
func verify(t *testing.T, ca, leaf []byte, usage x509.ExtKeyUsage, c *clock) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	if _, err := cert(t, leaf).Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: c.now}); err != nil {
		t.Errorf("certificate of %s: %v", cert(t, leaf).Subject, err)
	}
}

// contents reads every file of dir.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestIdentityIsStable(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	a := open(t, dir, c, "172.30.0.1")
	if _, err := a.NodeClient("node-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.NodeServing("node-1", netip.MustParseAddr("172.30.0.11")); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)

	a = open(t, dir, c, "172.30.0.1")
	if _, err := a.NodeClient("node-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.NodeServing("node-1", netip.MustParseAddr("172.30.0.11")); err != nil {
		t.Fatal(err)
	}
	after := contents(t, dir)
	if len(before) != len(after) {
		t.Errorf("there were %d files, now there are %d", len(before), len(after))
	}
	for path, data := range before {
		if !bytes.Equal(data, after[path]) {
			t.Errorf("%s changed", path)
		}
	}
}

func TestFileModes(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, &clock{time.Now()})
	for path := range contents(t, dir) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, ".key") && info.Mode().Perm() != 0o600 {
			t.Errorf("key %s has mode %v", path, info.Mode())
		}
		if strings.Contains(path, ".tmp-") {
			t.Errorf("%s was left behind", path)
		}
	}
}

func TestCertificates(t *testing.T) {
	c := &clock{time.Now()}
	a := open(t, t.TempDir(), c, "172.30.0.1", "10.96.0.1")
	ca := a.CABundle()

	server := a.APIServer()
	verify(t, ca, server.Cert, x509.ExtKeyUsageServerAuth, c)
	for _, name := range []string{"kubernetes", "172.30.0.1", "10.96.0.1"} {
		if err := cert(t, server.Cert).VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	admin := a.Admin()
	verify(t, ca, admin.Cert, x509.ExtKeyUsageClientAuth, c)
	if s := cert(t, admin.Cert).Subject; s.CommonName != AdminName || !slices.Equal(s.Organization, []string{AdminGroup}) {
		t.Errorf("the administrator is %s", s)
	}
	node, err := a.NodeClient("node-1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, ca, node.Cert, x509.ExtKeyUsageClientAuth, c)
	if s := cert(t, node.Cert).Subject; s.CommonName != "system:node:node-1" || !slices.Equal(s.Organization, []string{"system:nodes"}) {
		t.Errorf("the node is %s", s)
	}
	front, err := os.ReadFile(a.Paths().FrontProxyCert)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, a.frontProxyCA.certPEM, front, x509.ExtKeyUsageClientAuth, c)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	if _, err := cert(t, front).Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		t.Error("the cluster CA vouches for the front proxy's certificate")
	}
}

func TestRenewal(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	a := open(t, dir, c, "172.30.0.1")
	ca, server, admin := a.CABundle(), a.APIServer(), a.Admin()

	c.now = c.now.Add(leafLifetime / 2)
	if err := a.Renew(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.APIServer().Cert, server.Cert) {
		t.Error("the serving certificate was renewed at half its life")
	}

	c.now = c.now.Add(leafLifetime * 2 / 5)
	if err := a.Renew(); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.APIServer().Cert, server.Cert) || bytes.Equal(a.Admin().Cert, admin.Cert) {
		t.Error("certificates weren't renewed near their end")
	}
	if !bytes.Equal(a.CABundle(), ca) {
		t.Error("the CA was renewed with years to go")
	}
	verify(t, ca, a.APIServer().Cert, x509.ExtKeyUsageServerAuth, c)

	// The renewed CA certificate verifies what the earlier one signed.
	c.now = c.now.Add(caLifetime - leafLifetime*3/2)
	if err := a.Renew(); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.CABundle(), ca) {
		t.Error("the CA wasn't renewed near its end")
	}
	old := cert(t, server.Cert)
	if err := old.CheckSignatureFrom(cert(t, a.CABundle())); err != nil {
		t.Errorf("the renewed CA disowns an old certificate: %v", err)
	}
	verify(t, a.CABundle(), a.APIServer().Cert, x509.ExtKeyUsageServerAuth, c)
}

func TestNewAddress(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	first := open(t, dir, c, "172.30.0.1")
	second := open(t, dir, c, "172.30.0.1", "192.0.2.1")
	if err := cert(t, second.APIServer().Cert).VerifyHostname("192.0.2.1"); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(first.CABundle(), second.CABundle()) || !bytes.Equal(first.Admin().Cert, second.Admin().Cert) {
		t.Error("a new address of the server changed more than its certificate")
	}
}

func TestDamage(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	a := open(t, dir, c)
	paths := a.Paths()

	// A key without its certificate, as a kill between the two writes leaves it.
	for _, path := range []string{filepath.Join(dir, "apiserver.crt"), paths.KubeletClientCert, paths.CACert} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	// A new key beside the old certificate.
	other := open(t, t.TempDir(), c)
	if err := os.WriteFile(filepath.Join(dir, "admin.key"), other.Admin().Key, 0o600); err != nil {
		t.Fatal(err)
	}
	a = open(t, dir, c)
	verify(t, a.CABundle(), a.APIServer().Cert, x509.ExtKeyUsageServerAuth, c)
	if _, err := tls.X509KeyPair(a.Admin().Cert, a.Admin().Key); err != nil {
		t.Errorf("the administrator's pair: %v", err)
	}

	// Keys that others depend on are never replaced silently.
	for _, path := range []string{paths.CAKey, paths.ServiceAccountKey} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := a.Renew(); err == nil || !strings.Contains(err.Error(), "restore") {
			t.Errorf("without %s: got %v, want an error with a remedy", path, err)
		}
		if err := os.WriteFile(path, data[:len(data)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir, DNSNames: []string{"kubernetes"}}); err == nil || !strings.Contains(err.Error(), "restore") {
			t.Errorf("half of %s: got %v, want an error with a remedy", path, err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNodeNames(t *testing.T) {
	a := open(t, t.TempDir(), &clock{time.Now()})
	for _, name := range []string{"", ".", "..", "../ca", "a/b"} {
		if _, err := a.NodeClient(name); err == nil {
			t.Errorf("NodeClient(%q) succeeded", name)
		}
		if _, err := a.NodeServing(name); err == nil {
			t.Errorf("NodeServing(%q) succeeded", name)
		}
	}
}

// A node that is gone leaves nothing, and the others keep what they have.
func TestForgetNode(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, &clock{time.Now()})
	issue := func(node string) {
		t.Helper()
		if _, err := a.NodeClient(node); err != nil {
			t.Fatal(err)
		}
		if _, err := a.NodeServing(node, netip.MustParseAddr("172.30.0.11")); err != nil {
			t.Fatal(err)
		}
	}
	issue("node-1")
	before := contents(t, dir)
	issue("node-2")
	for range 2 {
		if err := a.ForgetNode("node-2"); err != nil {
			t.Fatal(err)
		}
	}
	after := contents(t, dir)
	if len(after) != len(before) {
		t.Errorf("%d files, want %d", len(after), len(before))
	}
	for path, data := range before {
		if !bytes.Equal(data, after[path]) {
			t.Errorf("%s changed", path)
		}
	}
	if a.ForgetNode("../ca") == nil {
		t.Error("a name that leads out of the directory was taken")
	}
}

func TestKubeconfig(t *testing.T) {
	a := open(t, t.TempDir(), &clock{time.Now()})
	data, err := a.Kubeconfig("https://172.30.0.1:6443", "minato")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://172.30.0.1:6443" || !bytes.Equal(cfg.CAData, a.CABundle()) || !bytes.Equal(cfg.CertData, a.Admin().Cert) {
		t.Errorf("the kubeconfig says %s", data)
	}
}
