package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/dynamic"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/transport"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"minato/internal/controlplane/compat"
	"minato/internal/controlplane/pki"
)

// Issuer is the "iss" of ServiceAccount tokens in a cluster with domain.
func Issuer(domain string) string { return "https://kubernetes.default.svc." + domain }

// Etcd says where the store is.
type Etcd struct {
	Endpoints []string
	// Ready is closed when it answers.
	Ready                     <-chan struct{}
	CAFile, CertFile, KeyFile string
}

// settings are the parts of Config that upstream's options are made from.
type settings struct {
	etcd             Etcd
	pki              *pki.Authority
	advertiseAddress netip.Addr
	port             int
	serviceCIDRs     []netip.Prefix
	nodePorts        utilnet.PortRange
	clusterDomain    string
	decorators       admission.Decorators // of the admission plugins
	oldAPIs          bool
	handlers         []string // that RuntimeClasses may name; nil is not known
	// What an admission plugin reads.
	objects    dynamic.Interface
	namespaces corelisters.NamespaceLister
}

// kubeletCertificateRefresh is how often it looks.
const kubeletCertificateRefresh = 15 * time.Second

// runOptions are kubeadm's flags for kube-apiserver, in code.
func runOptions(ctx context.Context, s settings) (options.CompletedOptions, error) {
	paths := s.pki.Paths()
	o := options.NewServerRunOptions()

	o.GenericServerRunOptions.AdvertiseAddress = net.IP(s.advertiseAddress.AsSlice())
	// Watches end as soon as the server is told to stop instead of holding it up.
	o.GenericServerRunOptions.ShutdownWatchTerminationGracePeriod = time.Second
	o.AllowPrivileged = true
	o.EventTTL = time.Hour
	o.Features.EnableProfiling = false

	o.Etcd.StorageConfig.Transport.ServerList = s.etcd.Endpoints
	o.Etcd.StorageConfig.Transport.TrustedCAFile = s.etcd.CAFile
	o.Etcd.StorageConfig.Transport.CertFile = s.etcd.CertFile
	o.Etcd.StorageConfig.Transport.KeyFile = s.etcd.KeyFile

	// Only Complete looks at these: the server gets its listeners and its
	// certificate directly.
	o.SecureServing.BindAddress = net.IP(s.advertiseAddress.AsSlice())
	o.SecureServing.BindPort = s.port
	o.SecureServing.ServerCert.CertKey.CertFile = paths.CACert
	o.SecureServing.ServerCert.CertKey.KeyFile = paths.CAKey

	ranges := make([]string, 0, len(s.serviceCIDRs))
	for _, p := range s.serviceCIDRs {
		ranges = append(ranges, p.String())
	}
	o.ServiceClusterIPRanges = strings.Join(ranges, ",")
	o.ServiceNodePortRange = s.nodePorts

	if err := authentication(o, s); err != nil {
		return options.CompletedOptions{}, err
	}
	o.Authorization.Modes = []string{"Node", "RBAC"}
	o.Admission.GenericAdmission.EnablePlugins = []string{"NodeRestriction"}
	addBalancing(o.Admission.GenericAdmission, s.objects, s.namespaces)
	addWarnings(o.Admission.GenericAdmission, s.handlers)
	decorators := s.decorators
	if s.oldAPIs {
		compat.AddWarnings(o.Admission.GenericAdmission)
		decorators = append(decorators, compat.Decorator{})
	}
	// Our decorators come first, so that they wrap the plugins themselves.
	o.Admission.GenericAdmission.Decorators = append(decorators, o.Admission.GenericAdmission.Decorators...)

	// Upstream's transport to nodes closes its connections when it finds a new
	// certificate. It shall do so while nobody is about to use one, rather than in the
	// handshake of a request, which then fails.
	transport.CertCallbackRefreshDuration = kubeletCertificateRefresh
	o.KubeletConfig.PreferredAddressTypes = []string{"InternalIP", "ExternalIP", "Hostname"}
	o.KubeletConfig.TLSClientConfig.CAFile = paths.CACert
	o.KubeletConfig.TLSClientConfig.CertFile = paths.KubeletClientCert
	o.KubeletConfig.TLSClientConfig.KeyFile = paths.KubeletClientKey

	o.ProxyClientCertFile = paths.FrontProxyCert
	o.ProxyClientKeyFile = paths.FrontProxyKey
	// The API server isn't on a node, so no Service data plane translates for
	// it: webhooks and aggregated APIs are reached at their endpoints.
	o.EnableAggregatorRouting = true

	completed, err := o.Complete(ctx)
	if err != nil {
		return options.CompletedOptions{}, fmt.Errorf("API server options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return options.CompletedOptions{}, fmt.Errorf("API server options: %w", errors.Join(errs...))
	}
	return completed, nil
}

// authentication turns on what kubeadm does: client certificates, bootstrap
// tokens, ServiceAccount tokens, and the front proxy's headers.
func authentication(o *options.ServerRunOptions, s settings) error {
	paths := s.pki.Paths()
	ca, err := newClientCA(s.pki)
	if err != nil {
		return err
	}
	o.Authentication.ClientCert.CAContentProvider = ca
	o.Authentication.BootstrapToken.Enable = true

	o.Authentication.RequestHeader.ClientCAFile = paths.FrontProxyCACert
	o.Authentication.RequestHeader.AllowedNames = []string{pki.FrontProxyName}
	o.Authentication.RequestHeader.UsernameHeaders = []string{"X-Remote-User"}
	o.Authentication.RequestHeader.UIDHeaders = []string{"X-Remote-Uid"}
	o.Authentication.RequestHeader.GroupHeaders = []string{"X-Remote-Group"}
	o.Authentication.RequestHeader.ExtraHeaderPrefixes = []string{"X-Remote-Extra-"}

	o.ServiceAccountSigningKeyFile = paths.ServiceAccountKey
	o.Authentication.ServiceAccounts.KeyFiles = []string{paths.ServiceAccountPub}
	o.Authentication.ServiceAccounts.Issuers = []string{Issuer(s.clusterDomain)}
	return nil
}
