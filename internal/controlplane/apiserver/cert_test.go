package apiserver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"minato/internal/controlplane/pki"
	"minato/internal/host/limit"
)

// TestRenewedCertificatesAreServed renews certificates without a notification
// to upstream's serving code.
func TestRenewedCertificatesAreServed(t *testing.T) {
	now := time.Now()
	authority, err := pki.Open(pki.Config{Dir: t.TempDir(), DNSNames: []string{"kubernetes"}, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := newClientCA(authority)
	if err != nil {
		t.Fatal(err)
	}
	serving := dynamiccertificates.NewDynamicServingCertificateController(&tls.Config{}, ca, servingCert{authority}, nil, nil)
	leaf := func() []byte {
		t.Helper()
		if err := serving.RunOnce(); err != nil { // upstream does so every minute
			t.Fatal(err)
		}
		config, err := serving.GetConfigForClient(&tls.ClientHelloInfo{Conn: &net.TCPConn{}, ServerName: "kubernetes", SupportedVersions: []uint16{tls.VersionTLS13}})
		if err != nil {
			t.Fatal(err)
		}
		return config.Certificates[0].Certificate[0]
	}
	clientIsKnown := func() error {
		options, ok := ca.VerifyOptions()
		if !ok {
			t.Fatal("there are no options to verify clients with")
		}
		pair, err := authority.NodeClient("node-1")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		options.CurrentTime = now
		parsed, err := x509.ParseCertificate(cert.Certificate[0])
		if err == nil {
			_, err = parsed.Verify(options)
		}
		return err
	}
	first, firstCA := leaf(), ca.CurrentCABundleContent()
	if !bytes.Equal(first, leaf()) {
		t.Error("a certificate that is good is replaced")
	}
	if err := clientIsKnown(); err != nil {
		t.Error(err)
	}

	now = now.AddDate(0, 11, 0) // the last third of a certificate's year
	if err := authority.Renew(); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, leaf()) {
		t.Error("the old certificate is served after a renewal")
	}

	now = now.AddDate(12, 0, 0) // beyond the life of the CA's certificate
	if err := authority.Renew(); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(firstCA, ca.CurrentCABundleContent()) {
		t.Error("the old CA certificate is given after a renewal")
	}
	if err := clientIsKnown(); err != nil {
		t.Errorf("a client's certificate after a renewal of the CA's: %v", err)
	}
}

// starved is a listener whose first Accept fails for lack of descriptors.
type starved struct {
	net.Listener
	told bool
}

func (l *starved) Accept() (net.Conn, error) {
	if !l.told {
		l.told = true
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// TestFanSurvivesWantOfDescriptors says that a listener goes on accepting.
func TestFanSurvivesWantOfDescriptors(t *testing.T) {
	limits, err := limit.New(limit.Config{})
	if err != nil {
		t.Fatal(err)
	}
	inner := listen(t)
	f := newFan(limits.Wrap(connectionLimit(), &starved{Listener: inner}))
	defer f.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := f.Accept()
	if err != nil {
		t.Fatalf("want of descriptors ends the listener: %v", err)
	}
	server.Close()
}
