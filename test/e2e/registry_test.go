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
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/bcrypt"
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
//	registry push HOST:PORT REPO:TAG TAR [N]  puts an image there, with N random bytes of its own
//	registry digest VAR HOST:PORT REPO:TAG   sets VAR to the digest of its manifest
//	registry faulty VAR HOST:PORT HOW        sets VAR to a registry in front of that, which
//	    break: breaks off each blob after 64 KiB, but can go on from anywhere
//	    die: breaks off each blob after 64 KiB, and has nothing of it any more
//	    lie: has other content in blobs
func registryCommand(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case neg:
	case len(args) == 2 && args[0] == "start":
		startRegistry(ts, args[1])
		return
	case len(args) >= 4 && args[0] == "push":
		pushImage(ts, args[1:])
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
	ts.Fatalf("usage: registry start|push|digest|faulty ...")
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

func startRegistry(ts *testscript.TestScript, variable string) {
	cert, key := certify(ts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	addr := l.Addr().String()
	ts.Check(l.Close())
	hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
	ts.Check(err)
	dir := ts.MkAbs("registry-" + variable)
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(registryUser+":"+string(hash)+"\n"), 0o600))
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q, tls: {certificate: %s, key: %s}}\nauth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", dir, addr, cert, key, dir)
	ts.Check(os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o600))
	program, err := exec.LookPath("docker-registry")
	ts.Check(err)
	var output lockedBuffer
	cmd := exec.Command(program, "serve", filepath.Join(dir, "config.yml"))
	cmd.Stdout, cmd.Stderr = &output, &output
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	for deadline := time.Now().Add(20 * time.Second); ; pause(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("docker-registry does not serve: %v: %s", err, output.buf.String())
		}
	}
	ts.Setenv(variable, addr)
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
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: target})
	proxy.Transport = registryTransport(ts)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // its faults are on purpose
	proxy.ModifyResponse = func(resp *http.Response) error {
		if !strings.Contains(resp.Request.URL.Path, "/blobs/") || resp.StatusCode/100 != 2 || resp.ContentLength < 100_000 {
			return nil
		}
		switch {
		case how == "lie":
			resp.Body = lyingBody{resp.Body}
		case how == "die" && resp.Request.Header.Get("Range") != "":
			return errors.New("it is dead")
		default:
			resp.Body = &brokenBody{ReadCloser: resp.Body, left: 64 << 10}
		}
		return nil
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

// lyingBody has other bytes than it should.
type lyingBody struct{ io.ReadCloser }

func (b lyingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		p[n-1] ^= 1
	}
	return n, err
}
