package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/certs"
	"minato/internal/ingress/filter"
	"minato/internal/ingress/nginx"
	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
)

const namespace = "bench"

// playProxy is Minato's data path with a table of its own, with filters and metrics as a node's process has them.
func playProxy(ctx context.Context, args []string) (err error) {
	set := flag.NewFlagSet("proxy", flag.ContinueOnError)
	plain := set.String("http", "", "")
	secure := set.String("https", "", "")
	dir := set.String("certificates", "", "")
	hosts := set.Int("hosts", 0, "")
	paths := set.Int("paths", 0, "")
	log := set.String("access-log", "", "")
	profile := set.String("profile", "", "")
	if err := set.Parse(args); err != nil {
		return err
	}
	metrics := proxy.NewMetrics(proxy.MetricsConfig{ControllerClass: table.ControllerMinato, ControllerNamespace: namespace, ControllerPod: "bench"})
	cfg := proxy.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Hostname: "bench", Observer: metrics}
	for _, l := range []struct {
		address string
		tls     bool
	}{{*plain, false}, {*secure, true}} {
		socket, err := net.Listen("tcp", l.address)
		if err != nil {
			return err
		}
		cfg.Listeners = append(cfg.Listeners, proxy.Listener{Listener: socket, TLS: l.tls})
	}
	if *log != "" {
		stop, err := accessLog(ctx, *log, &cfg)
		if err != nil {
			return err
		}
		defer stop()
	}
	s, err := proxy.New(cfg)
	if err != nil {
		return err
	}
	if err := metrics.Bind(s); err != nil {
		return err
	}
	filters, err := filter.New(filter.Config{Logger: cfg.Logger})
	if err != nil {
		return err
	}
	s.SetHooks(filters.Hooks())
	go func() {
		if err := filters.Run(ctx); err != nil {
			cfg.Logger.Error("The filters have ended", "error", err)
		}
	}()
	c, err := readCertificate(*dir, "ecdsa")
	if err != nil {
		return err
	}
	s.SetDefaultCertificate(c.Pair)
	t, err := newTable(*dir, *hosts, *paths)
	if err != nil {
		return err
	}
	s.SetTable(t)
	for service, address := range map[string]string{"web": backendAddress, "grpc": grpcAddress} {
		ref := table.BackendRef{Namespace: namespace, Service: service, Port: "80"}
		s.SetEndpoints(ref, []proxy.Endpoint{{Address: netip.MustParseAddrPort(address)}})
	}
	if *profile != "" {
		out, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(out); err != nil {
			return errors.Join(err, out.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, out.Close())
		}()
	}
	return s.Run(ctx)
}

// newTable has a host for each kind of certificate, one of gRPC, and hosts with paths besides.
func newTable(dir string, hosts, paths int) (*table.Table, error) {
	b := table.NewBuilder()
	settings := nginx.NewSettings()
	settings.TLS.Tickets = true
	settings.KeepAliveRequests = 1_000_000_000
	b.SetSettings(settings)
	defaults := nginx.NewDefaults()
	add := func(name, service string, annotations map[string]string, secret *table.Certificate, host string, paths ...string) {
		o := newIngress(name, service, host, paths)
		o.Annotations = annotations
		i := &table.Ingress{Object: o, Class: table.ClassMinato}
		i.Options, _, _ = nginx.Read(o, i.Class, defaults, nil)
		if secret != nil {
			o.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: secret.Secret.Name}}
			i.Certificates = map[string]*table.Certificate{secret.Secret.Name: secret}
		}
		b.Set(i)
	}
	for _, kind := range []string{"rsa", "ecdsa"} {
		c, err := readCertificate(dir, kind)
		if err != nil {
			return nil, err
		}
		add(kind, "web", nil, c, hostOf(kind), "/")
		if kind == "ecdsa" {
			add("grpc", "grpc", map[string]string{"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}, c, grpcHost, "/")
		}
	}
	add("web", "web", nil, nil, webHost, "/")
	for h := range hosts {
		var all []string
		for p := range paths {
			all = append(all, manyPath(p))
		}
		add(fmt.Sprintf("many-%d", h), "web", nil, nil, manyHost(h), all...)
	}
	return b.Table(), nil
}

func newIngress(name, service, host string, paths []string) *networkingv1.Ingress {
	o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1, 0))}}
	prefix := networkingv1.PathTypePrefix
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}
	http := &networkingv1.HTTPIngressRuleValue{}
	for _, p := range paths {
		http.Paths = append(http.Paths, networkingv1.HTTPIngressPath{Path: p, PathType: &prefix, Backend: backend})
	}
	o.Spec.Rules = []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: http}}}
	return o
}

func readCertificate(dir, kind string) (*table.Certificate, error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: kind}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{}}
	for key, file := range map[string]string{corev1.TLSCertKey: kind + ".crt", corev1.TLSPrivateKeyKey: kind + ".key"} {
		var err error
		if secret.Data[key], err = os.ReadFile(filepath.Join(dir, file)); err != nil {
			return nil, err
		}
	}
	c, err := certs.Certificate(secret)
	if err == nil {
		c.Secret = types.NamespacedName{Namespace: namespace, Name: kind}
	}
	return c, err
}

// accessLog has the proxy write a log, as a node's process does.
func accessLog(ctx context.Context, file string, cfg *proxy.Config) (stop func(), err error) {
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	log, err := proxy.NewAccessLog(proxy.AccessLogConfig{Writer: out})
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	cfg.Observer = proxy.Observers{cfg.Observer, log}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := log.Run(ctx); err != nil {
			cfg.Logger.Error("The access log cannot be written", "error", err)
		}
	}()
	return func() {
		<-done
		_ = out.Close() // nobody reads it
	}, nil
}
