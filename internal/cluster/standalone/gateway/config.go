package gateway

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/ingress"
	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

// Config is the command line. Flags that ingress-nginx has too mean the same.
type Config struct {
	foreign.Connection
	// Node is the name of the node's object; empty is NODE_NAME of the environment or else the host's name.
	Node string

	IngressClass, ControllerClass string
	WatchNamespace                string
	WithoutClass                  bool
	DefaultCertificate            string
	DefaultBackend                string
	PublishService                string
	PublishAddresses              []string
	UpdateStatus                  bool
	ConfigMap, TCP, UDP           string
	Prefix                        string
	HTTPPort, HTTPSPort           uint16
	StatusPort                    uint16
	Passthrough, NoCatchAll       bool
	MetricsPerHost                bool
	ElectionID                    string
	GracePeriod                   time.Duration
	// Verbosity is as in all Kubernetes programs.
	Verbosity int

	// namespace is that of the process's Pod.
	namespace string
}

// AddFlags binds the configuration to flags.
func (cfg *Config) AddFlags(f *pflag.FlagSet) {
	cfg.Connection.AddFlags(f)
	f.StringVar(&cfg.Node, "node", "", "name of the node's object (default: $NODE_NAME, or else the host's name in lower case)")
	f.StringVar(&cfg.IngressClass, "ingress-class", ingress.ClassNginx, "value of the annotation kubernetes.io/ingress.class that is served")
	f.StringVar(&cfg.ControllerClass, "controller-class", table.ControllerNginx, "spec.controller of the IngressClasses that are served")
	f.StringVar(&cfg.WatchNamespace, "watch-namespace", "", "the only namespace whose Ingresses are served (default: all)")
	f.BoolVar(&cfg.WithoutClass, "watch-ingress-without-class", false, "serve Ingresses that name no class as well")
	f.StringVar(&cfg.DefaultCertificate, "default-ssl-certificate", "", "Secret, as namespace/name, with the certificate of hosts that have none")
	f.StringVar(&cfg.DefaultBackend, "default-backend-service", "", "Service, as namespace/name, that answers what no Ingress asks for")
	f.StringVar(&cfg.PublishService, "publish-service", "", "Service, as namespace/name, whose address is written into the status of Ingresses")
	f.StringSliceVar(&cfg.PublishAddresses, "publish-status-address", nil, "addresses or names for the status of Ingresses, in place of those of --publish-service")
	f.BoolVar(&cfg.UpdateStatus, "update-status", true, "write the status of Ingresses")
	f.StringVar(&cfg.ConfigMap, "configmap", "", "ConfigMap, as namespace/name, with the settings")
	f.StringVar(&cfg.TCP, "tcp-services-configmap", "", "ConfigMap, as namespace/name, with TCP ports and their Services")
	f.StringVar(&cfg.UDP, "udp-services-configmap", "", "ConfigMap, as namespace/name, with UDP ports and their Services")
	f.StringVar(&cfg.Prefix, "annotations-prefix", nginx.DefaultPrefix, "prefix of the annotations")
	f.Uint16Var(&cfg.HTTPPort, "http-port", 80, "port of HTTP")
	f.Uint16Var(&cfg.HTTPSPort, "https-port", 443, "port of HTTPS")
	f.Uint16Var(&cfg.StatusPort, "healthz-port", ingress.StatusPort, "port of /healthz and /metrics")
	f.BoolVar(&cfg.Passthrough, "enable-ssl-passthrough", false, "pass TLS on to the backends of hosts that ask for it")
	f.BoolVar(&cfg.NoCatchAll, "disable-catch-all", false, "serve no Ingress that has a default backend")
	f.BoolVar(&cfg.MetricsPerHost, "metrics-per-host", true, "tell requests apart by host in the metrics")
	f.StringVar(&cfg.ElectionID, "election-id", "ingress-nginx-leader", "name of the Lease of the process that writes status and events")
	f.DurationVar(&cfg.GracePeriod, "shutdown-grace-period", 10*time.Second, "how long connections are still accepted after the end was asked for, until everybody knows")
	f.IntVarP(&cfg.Verbosity, "v", "v", 0, foreign.VerbosityUsage)
}

// Meant tells whether the command line, or the Pod that the process is in, has a cluster to serve.
func (cfg *Config) Meant() bool {
	return cfg.Kubeconfig != "" || cfg.Master != "" || os.Getenv("KUBERNETES_SERVICE_HOST") != ""
}

// complete fills what has defaults and checks the rest.
func (cfg *Config) complete() (err error) {
	if cfg.Node, err = foreign.NodeName(cfg.Node); err != nil {
		return err
	}
	if cfg.namespace = os.Getenv("POD_NAMESPACE"); cfg.namespace == "" {
		cfg.namespace = "ingress-nginx"
	}
	if cfg.HTTPPort == cfg.HTTPSPort || cfg.HTTPPort == cfg.StatusPort || cfg.HTTPSPort == cfg.StatusPort {
		return fmt.Errorf("--http-port %d, --https-port %d and --healthz-port %d: give three different ports", cfg.HTTPPort, cfg.HTTPSPort, cfg.StatusPort)
	}
	for flag, value := range map[string]string{
		"--default-ssl-certificate": cfg.DefaultCertificate, "--default-backend-service": cfg.DefaultBackend, "--publish-service": cfg.PublishService,
		"--configmap": cfg.ConfigMap, "--tcp-services-configmap": cfg.TCP, "--udp-services-configmap": cfg.UDP,
	} {
		if _, err := named(value); err != nil {
			return fmt.Errorf("%s %q: %w", flag, value, err)
		}
	}
	return nil
}

// named reads namespace/name; empty is none.
func named(text string) (types.NamespacedName, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if text != "" && (!ok || namespace == "" || name == "" || strings.Contains(name, "/")) {
		return types.NamespacedName{}, fmt.Errorf("write namespace/name")
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}

// options are what the flags say about Ingresses.
func (cfg *Config) options() ingress.Options {
	list := func(text string) []types.NamespacedName {
		if n, err := named(text); err == nil && n.Name != "" {
			return []types.NamespacedName{n}
		}
		return nil
	}
	return ingress.Options{
		Classes:   table.ClassConfig{Minato: table.ControllerMinato, Nginx: cfg.ControllerClass, Annotation: cfg.IngressClass, WithoutClass: cfg.WithoutClass},
		Namespace: cfg.WatchNamespace,
		Flags: nginx.Flags{
			AnnotationsPrefix: cfg.Prefix, DefaultBackend: cfg.DefaultBackend, DefaultCertificate: cfg.DefaultCertificate,
			Passthrough: cfg.Passthrough, NoCatchAll: cfg.NoCatchAll,
		},
		Settings: list(cfg.ConfigMap), TCP: list(cfg.TCP), UDP: list(cfg.UDP),
	}
}

// addresses are those of --publish-status-address.
func (cfg *Config) addresses() []networkingv1.IngressLoadBalancerIngress {
	var out []networkingv1.IngressLoadBalancerIngress
	for _, a := range cfg.PublishAddresses {
		if _, err := netip.ParseAddr(a); err == nil {
			out = append(out, networkingv1.IngressLoadBalancerIngress{IP: a})
		} else {
			out = append(out, networkingv1.IngressLoadBalancerIngress{Hostname: a})
		}
	}
	return out
}
