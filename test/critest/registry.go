package main

import (
	"context"
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
	"os"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	served "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// The registries that the suite names.
var registries = [...]string{"registry.k8s.io", "gcr.io", "k8s.gcr.io"}

// registry answers as each of these registries does, to clients that have its
// CA's certificate and use it as a proxy. So the runtime pulls as it would from
// the real ones.
type registry struct {
	ca      string // the file of the CA's certificate
	proxy   *http.Server
	address string
	tls     *http.Server
	pipes   *pipes
}

func openRegistry(ctx context.Context, images, ca string) (*registry, error) {
	cert, err := newCertificate(ca)
	if err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	handler := served.New(served.Logger(quiet))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{ca: ca, address: l.Addr().String(), pipes: newPipes()}
	r.tls = &http.Server{Handler: handler, ErrorLog: quiet, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	r.proxy = &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodConnect {
			r.connect(w)
			return
		}
		handler.ServeHTTP(w, req) // to fill it
	})}
	// Both end with close.
	go func() { _ = r.tls.ServeTLS(r.pipes, "", "") }()
	go func() { _ = r.proxy.Serve(l) }()
	if err := r.fill(ctx, images); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// connect hands a client of the proxy to the registry, whichever it has asked for.
func (r *registry) connect(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	r.pipes.add(conn)
}

// fill pushes the images by the paths that they have in any of the registries.
func (r *registry) fill(ctx context.Context, dir string) error {
	all, err := standIns(dir)
	if err != nil {
		return err
	}
	for _, i := range all {
		for _, path := range i.paths {
			ref, err := name.ParseReference(r.address + "/" + path)
			if err != nil {
				return err
			}
			if err := remote.Write(ref, i.image, remote.WithContext(ctx)); err != nil {
				return fmt.Errorf("push %s: %w", path, err)
			}
		}
	}
	return nil
}

// env has whoever gets it pull from here.
func (r *registry) env() []string {
	return []string{"HTTPS_PROXY=http://" + r.address, "NO_PROXY=localhost,172.16.0.0/12,10.0.0.0/8", "SSL_CERT_FILE=" + r.ca}
}

func (r *registry) close() {
	_ = r.proxy.Close()
	_ = r.tls.Close()
}

// newCertificate makes a certificate for the registries, and writes that of its
// CA to a file.
func newCertificate(caFile string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "critest"}, DNSNames: registries[:],
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(caFile, text, 0o644)
}

// pipes is a listener of connections that others have accepted.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) add(c net.Conn) {
	select {
	case p.conns <- c:
	case <-p.done:
		c.Close()
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, errors.New("closed")
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
