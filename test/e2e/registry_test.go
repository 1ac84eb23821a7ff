package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// What the registries of scripts ask for.
const (
	registryUser     = "reader"
	registryPassword = "sesame"
)

// registryCommand has Debian's docker-registry serve on loopback, by https with a CA of
// its own (ca.pem in the script's directory), to whoever knows reader's password.
//
//	registry start VAR                       sets VAR to HOST:PORT
//	registry kill VAR                        ends it by SIGKILL
//	registry again VAR                       starts it again, at the same address
//	registry password VAR PASSWORD           has it ask for another password
//	registry push HOST:PORT REPO:TAG TAR [N]  puts an image there, with N random bytes of its own
//	registry index HOST:PORT REPO:TAG FROM   puts an index there, with the image FROM for this machine,
//	    the same for others, and what builders add about how it was built
//	registry digest VAR HOST:PORT REPO:TAG   sets VAR to the digest of its manifest
//	registry faulty VAR HOST:PORT HOW        sets VAR to a registry in front of that, which
//	    break: breaks off each blob after 64 KiB, but can go on from anywhere
//	    die: breaks off each blob after 64 KiB, and has nothing of it any more
//	    lie: has other content in blobs
//	    slow: sends 64 KiB of a blob, and then 640 KiB a second; ends connections
//	        when that registry does
func registryCommand(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case neg:
	case len(args) == 2 && args[0] == "start":
		startRegistry(ts, args[1])
		return
	case len(args) == 2 && args[0] == "kill":
		registryIn(ts, args[1]).kill()
		return
	case len(args) == 2 && args[0] == "again":
		ts.Check(registryIn(ts, args[1]).serve())
		return
	case len(args) == 3 && args[0] == "password":
		// The program reads the file anew when it has changed.
		ts.Check(registryIn(ts, args[1]).setPassword(args[2]))
		return
	case len(args) >= 4 && args[0] == "push":
		pushImage(ts, args[1:])
		return
	case len(args) == 4 && args[0] == "index":
		pushIndex(ts, args[1], args[2], args[3])
		return
	case len(args) == 4 && args[0] == "digest":
		ref, err := name.ParseReference(args[2] + "/" + args[3])
		ts.Check(err)
		desc, err := remote.Get(ref, registryOptions(ts)...)
		ts.Check(err)
		ts.Setenv(args[1], desc.Digest.String())
		return
	case len(args) == 4 && args[0] == "faulty":
		startFaulty(ts, args[1], args[2], args[3])
		return
	}
	ts.Fatalf("usage: registry start|kill|again|password|push|index|digest|faulty ...")
}

// certify writes ca.pem, cert.pem and key.pem for 127.0.0.1, once for a script.
func certify(ts *testscript.TestScript) (cert, key string) {
	cert, key = ts.MkAbs("cert.pem"), ts.MkAbs("key.pem")
	if _, err := os.Stat(cert); err == nil {
		return cert, key
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	ts.Check(err)
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	ts.Check(err)
	for file, block := range map[string]*pem.Block{
		ts.MkAbs("ca.pem"): {Type: "CERTIFICATE", Bytes: caDER}, cert: {Type: "CERTIFICATE", Bytes: leafDER}, key: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		ts.Check(os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return cert, key
}

// registryTransport trusts the script's CA.
func registryTransport(ts *testscript.TestScript) *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ts.ReadFile("ca.pem")))
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
}

func registryOptions(ts *testscript.TestScript) []remote.Option {
	return []remote.Option{remote.WithTransport(registryTransport(ts)), remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword})}
}

func pushImage(ts *testscript.TestScript, args []string) {
	ref, err := name.ParseReference(args[0] + "/" + args[1])
	ts.Check(err)
	img, err := tarball.ImageFromPath(ts.MkAbs(args[2]), nil)
	ts.Check(err)
	if len(args) > 3 {
		n, err := strconv.Atoi(args[3])
		ts.Check(err)
		img, err = withRandomLayer(img, n)
		ts.Check(err)
	}
	ts.Check(remote.Write(ref, img, registryOptions(ts)...))
}

func pushIndex(ts *testscript.TestScript, host, to, from string) {
	ref, err := name.ParseReference(host + "/" + from)
	ts.Check(err)
	img, err := remote.Image(ref, registryOptions(ts)...)
	ts.Check(err)
	other, err := withRandomLayer(img, 1000)
	ts.Check(err)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, one := range []struct {
		img      v1.Image
		platform v1.Platform
		about    map[string]string
	}{
		{other, v1.Platform{OS: "linux", Architecture: "mips64"}, nil},
		{other, v1.Platform{OS: "windows", Architecture: runtime.GOARCH}, nil},
		{img, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil},
		{other, v1.Platform{OS: "unknown", Architecture: "unknown"}, map[string]string{"vnd.docker.reference.type": "attestation-manifest"}},
	} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: one.img, Descriptor: v1.Descriptor{Platform: &one.platform, Annotations: one.about}})
	}
	at, err := name.ParseReference(host + "/" + to)
	ts.Check(err)
	ts.Check(remote.WriteIndex(at, index, registryOptions(ts)...))
}

// withRandomLayer adds a layer that no other image has.
func withRandomLayer(img v1.Image, n int) (v1.Image, error) {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	err := tw.WriteHeader(&tar.Header{Name: "random", Mode: 0o644, Size: int64(n)})
	if err == nil {
		_, err = tw.Write(data)
	}
	if err = errors.Join(err, tw.Close()); err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, static.NewLayer(archive.Bytes(), types.OCIUncompressedLayer))
}

// startFaulty serves what another registry has, with faults.
func startFaulty(ts *testscript.TestScript, variable, target, how string) {
	cert, key := certify(ts)
	pair, err := tls.LoadX509KeyPair(cert, key)
	ts.Check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	behind := registryAt(ts, target)
	if behind == nil {
		ts.Fatalf("registry faulty: %s is no registry of this script", target)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: target})
	proxy.Transport = registryTransport(ts)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // its faults are on purpose
	proxy.ModifyResponse = func(resp *http.Response) error {
		if !strings.Contains(resp.Request.URL.Path, "/blobs/") || resp.StatusCode/100 != 2 || resp.ContentLength < 100_000 {
			return nil
		}
		switch {
		case how == "slow":
			resp.Body = &slowBody{ReadCloser: resp.Body, client: resp.Request.Context().Done(), registry: behind.alive()}
		case how == "lie":
			resp.Body = lyingBody{resp.Body}
		case how == "die" && resp.Request.Header.Get("Range") != "":
			return errors.New("it is dead")
		default:
			resp.Body = &brokenBody{ReadCloser: resp.Body, left: 64 << 10}
		}
		return nil
	}
	if how == "slow" {
		// Who waits must not take it for an answer of the registry's.
		proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	}
	server := &http.Server{Handler: proxy, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ReadHeaderTimeout: 10 * time.Second}
	go server.ServeTLS(l, "", "")
	ts.Defer(func() { ts.Check(server.Close()) })
	ts.Setenv(variable, l.Addr().String())
}

// brokenBody breaks off after a number of bytes.
type brokenBody struct {
	io.ReadCloser
	left int
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errors.New("made to break off")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// slowBody sends a piece at once and the others one by one.
type slowBody struct {
	io.ReadCloser
	sent             int
	client, registry <-chan struct{} // closed when one of them is gone
}

func (b *slowBody) Read(p []byte) (int, error) {
	const piece = 64 << 10
	if b.sent >= piece {
		select {
		case <-time.After(time.Duration(len(p[:min(len(p), piece)])) * 100 * time.Millisecond / piece):
		case <-b.client:
			return 0, io.ErrUnexpectedEOF
		case <-b.registry:
			return 0, io.ErrUnexpectedEOF
		}
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), piece)])
	b.sent += n
	return n, err
}

// lyingBody has other bytes than it should.
type lyingBody struct{ io.ReadCloser }

func (b lyingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		p[n-1] ^= 1
	}
	return n, err
}
