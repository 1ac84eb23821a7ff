package ingress

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/ingress"
	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

// plan is a command line that was checked.
type plan struct {
	options   ingress.Options
	publish   types.NamespacedName
	addresses []networkingv1.IngressLoadBalancerIngress
	// selector is nil without --watch-namespace-selector.
	selector labels.Selector
	node     string
	// pod is the Pod that the process is in; its name is empty outside of one.
	pod types.NamespacedName
	// lease is that of the leader, and identity the process's there.
	lease    types.NamespacedName
	identity string
}

// plan checks the command line. It changes nothing, and asks nobody.
func (cfg *Config) plan() (plan, error) {
	p := plan{pod: types.NamespacedName{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME")}}
	var err error
	if p.node, err = foreign.NodeName(cfg.Node); err != nil {
		return p, err
	}
	if (p.pod.Name == "") != (p.pod.Namespace == "") {
		return p, errors.New("the environment has one of POD_NAME and POD_NAMESPACE; a Pod needs both, and a process outside of one neither")
	}
	for _, check := range []func(*plan) error{cfg.planPorts, cfg.planObjects, cfg.planSelection, cfg.planStatus} {
		if err := check(&p); err != nil {
			return p, err
		}
	}
	p.lease = types.NamespacedName{Namespace: defaultNamespace, Name: cfg.ElectionID}
	p.identity = fmt.Sprintf("%s:%d", p.node, cfg.HTTPPort) // a node may have several processes, at different ports
	if p.pod.Name != "" {
		p.lease.Namespace, p.identity = p.pod.Namespace, p.pod.Name
	}
	return p, nil
}

func (cfg *Config) planPorts(*plan) error {
	names := map[int]string{}
	for _, f := range []struct {
		name string
		port int
	}{{"http-port", cfg.HTTPPort}, {"https-port", cfg.HTTPSPort}, {"healthz-port", cfg.HealthPort}} {
		if f.port < 1 || f.port > 65535 {
			return fmt.Errorf("--%s is %d; give a port from 1 to 65535", f.name, f.port)
		}
		if other := names[f.port]; other != "" {
			return fmt.Errorf("--%s and --%s are both %d; give each a port of its own", other, f.name, f.port)
		}
		names[f.port] = f.name
	}
	if !strings.HasPrefix(cfg.HealthPath, "/") || cfg.HealthPath == "/metrics" || strings.ContainsAny(cfg.HealthPath, "{} ") {
		return fmt.Errorf("--health-check-path is %q; give a path such as /healthz", cfg.HealthPath)
	}
	if cfg.ShutdownGrace < 0 || cfg.AfterShutdown < 0 {
		return errors.New("--shutdown-grace-period and --post-shutdown-grace-period are seconds, 0 or more")
	}
	return nil
}

func (cfg *Config) planObjects(p *plan) error {
	p.options = ingress.Options{
		Classes: table.ClassConfig{Nginx: cfg.ControllerClass, Annotation: cfg.IngressClass, WithoutClass: cfg.WithoutClass},
		Flags: nginx.Flags{
			AnnotationsPrefix: cfg.AnnotationsPrefix, DefaultBackend: cfg.DefaultBackend, DefaultCertificate: cfg.DefaultCertificate,
			Passthrough: cfg.Passthrough, NoCatchAll: cfg.NoCatchAll,
		},
		Namespace: cfg.WatchNamespace, NoExternalNames: cfg.NoNames,
	}
	var backend types.NamespacedName
	for _, f := range []struct {
		name, value string
		into        *types.NamespacedName
		list        *[]types.NamespacedName
	}{
		{name: "configmap", value: cfg.ConfigMap, list: &p.options.Settings},
		{name: "tcp-services-configmap", value: cfg.TCPServices, list: &p.options.TCP},
		{name: "udp-services-configmap", value: cfg.UDPServices, list: &p.options.UDP},
		{name: "default-ssl-certificate", value: cfg.DefaultCertificate},
		{name: "default-backend-service", value: cfg.DefaultBackend, into: &backend},
		{name: "publish-service", value: cfg.PublishService, into: &p.publish},
	} {
		if f.value == "" {
			continue
		}
		n, err := objectName(f.value)
		if err != nil {
			return fmt.Errorf("--%s is %q: %w", f.name, f.value, err)
		}
		if f.into != nil {
			*f.into = n
		}
		if f.list != nil {
			*f.list = append(*f.list, n)
		}
	}
	if cfg.WatchNamespace != "" && backend.Name != "" && backend.Namespace != cfg.WatchNamespace {
		return fmt.Errorf("--default-backend-service is %s, and --watch-namespace has only namespace %s read; name a Service of that namespace", backend, cfg.WatchNamespace)
	}
	return nil
}

// objectName reads NAMESPACE/NAME.
func objectName(s string) (types.NamespacedName, error) {
	namespace, name, _ := strings.Cut(s, "/")
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return types.NamespacedName{}, errors.New("write NAMESPACE/NAME of an object")
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}

func (cfg *Config) planSelection(p *plan) error {
	if cfg.ControllerClass == "" && cfg.IngressClass == "" && !cfg.WithoutClass {
		return errors.New("no Ingress can be of an empty --controller-class and --ingress-class; give one of them, or --watch-ingress-without-class")
	}
	if errs := validation.IsDNS1123Subdomain(cfg.AnnotationsPrefix); len(errs) > 0 {
		return fmt.Errorf("--annotations-prefix is %q: %s", cfg.AnnotationsPrefix, errs[0])
	}
	if cfg.WatchNamespace != "" && cfg.WatchNamespaceSelector != "" {
		return errors.New("--watch-namespace and --watch-namespace-selector exclude each other; give one of them")
	}
	if cfg.WatchNamespaceSelector == "" {
		return nil
	}
	var err error
	if p.selector, err = labels.Parse(cfg.WatchNamespaceSelector); err != nil {
		return fmt.Errorf("--watch-namespace-selector is %q: %w", cfg.WatchNamespaceSelector, err)
	}
	return nil
}

func (cfg *Config) planStatus(p *plan) error {
	if cfg.PublishService != "" && len(cfg.PublishAddresses) > 0 {
		return errors.New("--publish-service and --publish-status-address exclude each other; give one of them")
	}
	for _, text := range cfg.PublishAddresses {
		text = strings.TrimSpace(text)
		if a, err := netip.ParseAddr(text); err == nil {
			p.addresses = append(p.addresses, networkingv1.IngressLoadBalancerIngress{IP: a.String()})
			continue
		}
		if errs := validation.IsDNS1123Subdomain(text); len(errs) > 0 {
			return fmt.Errorf("--publish-status-address has %q, which is neither an address nor a host name: %s", text, errs[0])
		}
		p.addresses = append(p.addresses, networkingv1.IngressLoadBalancerIngress{Hostname: text})
	}
	if errs := validation.IsDNS1123Subdomain(cfg.ElectionID); len(errs) > 0 && !cfg.NoElection {
		return fmt.Errorf("--election-id is %q, which is no name of a Lease: %s", cfg.ElectionID, errs[0])
	}
	if cfg.ElectionTTL < minTTL {
		return fmt.Errorf("--election-ttl is %s; give %s or more", cfg.ElectionTTL, minTTL)
	}
	return nil
}
