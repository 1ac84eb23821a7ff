// Command h2spec runs the suite of that name, which has a case for most of what RFC 9113 (then 7540) and RFC 7541 demand
// of a server, over TLS against the Ingress's data path. It fails if a case fails.
//
// It is run by `make h2spec`.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/ingress/nginx"
	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
)

func main() {
	suite := flag.String("suite", "build/h2spec", "the suite's program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *suite, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "h2spec: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, suite string, sections []string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "h2spec-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	address, stop, err := serve(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	report := filepath.Join(dir, "report.xml")
	args := []string{"-t", "-k", "-S", "-h", address.Addr().String(), "-p", fmt.Sprint(address.Port()), "-j", report}
	cmd := exec.CommandContext(ctx, suite, append(args, sections...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("run %s: %w", suite, err)
	}
	cases, err := read(report)
	if err != nil {
		return fmt.Errorf("%w; the suite says %s", err, out)
	}
	return judge(cases)
}

// serve starts the data path with one host and one backend.
func serve(dir string) (address netip.AddrPort, stop func() error, err error) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("an answer of some length ", 40))) // a client that has gone needs none
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return address, nil, err
	}
	s, err := proxy.New(proxy.Config{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), TempDir: dir,
		Listeners: []proxy.Listener{{Listener: l, TLS: true, Port: 443}},
	})
	if err != nil {
		return address, nil, err
	}
	certificate, err := newCertificate()
	if err != nil {
		return address, nil, err
	}
	s.SetDefaultCertificate(certificate)
	s.SetTable(newTable())
	ref := table.BackendRef{Namespace: "default", Service: "web", Port: "80"}
	s.SetEndpoints(ref, []proxy.Endpoint{{Address: netip.MustParseAddrPort(backend.Listener.Addr().String())}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return netip.MustParseAddrPort(l.Addr().String()), func() error {
		cancel()
		backend.Close()
		return <-ended
	}, nil
}

func newTable() *table.Table {
	prefix := networkingv1.PathTypePrefix
	o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	o.Spec.Rules = []networkingv1.IngressRule{{IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}}},
	}}}}
	i := &table.Ingress{Object: o, Class: table.ClassMinato}
	i.Options, _, _ = nginx.Read(o, i.Class, nginx.NewDefaults(), nil)
	b := table.NewBuilder()
	b.SetSettings(nginx.NewSettings())
	b.Set(i)
	return b.Table()
}

func newCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "h2spec"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// result is one case of the suite's report.
type result struct {
	Section string  `xml:"package,attr"`
	About   string  `xml:"classname,attr"`
	Failure *string `xml:"failure"`
	Skipped *string `xml:"skipped"`
	Error   *string `xml:"error"`
}

func (r *result) name() string { return r.Section + ": " + r.About }

func read(file string) ([]result, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var report struct {
		Suites []struct {
			Cases []result `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &report); err != nil {
		return nil, fmt.Errorf("the suite's report: %w", err)
	}
	var all []result
	for _, s := range report.Suites {
		all = append(all, s.Cases...)
	}
	if len(all) == 0 {
		return nil, errors.New("the suite's report has no cases")
	}
	return all, nil
}

// judge prints what came of the cases.
func judge(cases []result) error {
	passed, skipped := 0, 0
	var failed []error
	for i := range cases {
		c := &cases[i]
		switch {
		case c.Failure != nil || c.Error != nil:
			text := c.Failure
			if text == nil {
				text = c.Error
			}
			failed = append(failed, fmt.Errorf("%s fails: %s", c.name(), strings.Join(strings.Fields(*text), " ")))
		case c.Skipped != nil:
			skipped++
			fmt.Printf("skipped   %s\n", c.name())
		default:
			passed++
		}
	}
	fmt.Printf("%d cases: %d passed, %d skipped, %d failed\n", len(cases), passed, skipped, len(failed))
	return errors.Join(failed...)
}
