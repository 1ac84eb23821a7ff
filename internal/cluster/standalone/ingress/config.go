package ingress

import (
	"os"
	"time"

	"github.com/spf13/pflag"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/ingress"
	"minato/internal/ingress/table"
)

// Config is the command line. The flags are ingress-nginx's and mean the same; those of its flags that are not here are refused
// by name, see refused.go.
type Config struct {
	foreign.Connection
	// Node is the name of the node's object, of which the zone is taken, and the address where there is no Pod; empty is NODE_NAME
	// of the environment or else the host's name.
	Node string

	// Which Ingresses are served.
	IngressClass, ControllerClass          string
	WithoutClass                           bool
	WatchNamespace, WatchNamespaceSelector string
	AnnotationsPrefix                      string
	NoCatchAll                             bool

	// Objects, each namespace/name.
	ConfigMap, TCPServices, UDPServices string
	DefaultCertificate, DefaultBackend  string
	PublishService                      string

	// PublishAddresses are addresses and host names.
	PublishAddresses                []string
	InternalIP                      bool
	UpdateStatus, ClearStatus       bool
	NoSyncEvents                    bool
	ElectionID                      string
	ElectionTTL                     time.Duration
	NoElection                      bool
	Passthrough, NoNames, Topology  bool
	HTTPPort, HTTPSPort, HealthPort int
	HealthHost, HealthPath          string
	ShutdownGrace, AfterShutdown    int // seconds
	Metrics, MetricsPerHost         bool
	Verbosity                       int
}

// AddFlags binds the configuration to flags.
func (cfg *Config) AddFlags(f *pflag.FlagSet) {
	cfg.Connection.AddFlags(f)
	f.StringVar(&cfg.Master, "apiserver-host", "", "the same as --master, as ingress-nginx has it")
	f.StringVar(&cfg.Node, "node", "", "name of the node's object (default: $NODE_NAME, or else the host's name in lower case)")
	cfg.addSelection(f)
	cfg.addObjects(f)
	cfg.addStatus(f)
	f.IntVar(&cfg.HTTPPort, "http-port", 80, "port for HTTP")
	f.IntVar(&cfg.HTTPSPort, "https-port", 443, "port for HTTPS")
	f.IntVar(&cfg.HealthPort, "healthz-port", ingress.StatusPort, "port of the health check and of /metrics")
	f.StringVar(&cfg.HealthHost, "healthz-host", "", "address of that port (default: all)")
	f.StringVar(&cfg.HealthPath, "health-check-path", "/healthz", "path of the health check")
	f.BoolVar(&cfg.Metrics, "enable-metrics", true, "serve /metrics")
	f.BoolVar(&cfg.MetricsPerHost, "metrics-per-host", true, "metrics have the label host")
	f.BoolVar(&cfg.Passthrough, "enable-ssl-passthrough", false, "honour the annotation ssl-passthrough")
	f.BoolVar(&cfg.NoNames, "disable-svc-external-name", false, "Services of type ExternalName lead nowhere")
	f.BoolVar(&cfg.Topology, "enable-topology-aware-routing", false, "keep requests in the node's zone where endpoints have hints for it")
	f.IntVar(&cfg.ShutdownGrace, "shutdown-grace-period", 0, "seconds to go on accepting connections, no longer ready, when told to end")
	f.IntVar(&cfg.AfterShutdown, "post-shutdown-grace-period", 0, "seconds to stay, with /metrics alone, after the last request")
	f.IntVarP(&cfg.Verbosity, "v", "v", 0, foreign.VerbosityUsage)
	addRefused(f)
}

func (cfg *Config) addSelection(f *pflag.FlagSet) {
	f.StringVar(&cfg.IngressClass, "ingress-class", "nginx", "value of the annotation "+table.AnnotationClass+" of the Ingresses to serve")
	f.StringVar(&cfg.ControllerClass, "controller-class", table.ControllerNginx, "spec.controller of the IngressClasses whose Ingresses to serve")
	f.BoolVar(&cfg.WithoutClass, "watch-ingress-without-class", false, "serve Ingresses that name no class, too")
	f.StringVar(&cfg.WatchNamespace, "watch-namespace", "", "the only namespace to read, but for settings (default: all)")
	f.StringVar(&cfg.WatchNamespaceSelector, "watch-namespace-selector", "", "labels of the namespaces whose Ingresses to serve")
	f.StringVar(&cfg.AnnotationsPrefix, "annotations-prefix", "nginx.ingress.kubernetes.io", "prefix of the annotations")
	f.BoolVar(&cfg.NoCatchAll, "disable-catch-all", false, "leave out Ingresses that are for all hosts")
}

func (cfg *Config) addObjects(f *pflag.FlagSet) {
	f.StringVar(&cfg.ConfigMap, "configmap", "", "NAMESPACE/NAME of the ConfigMap with settings")
	f.StringVar(&cfg.TCPServices, "tcp-services-configmap", "", "NAMESPACE/NAME of the ConfigMap with TCP ports and their Services")
	f.StringVar(&cfg.UDPServices, "udp-services-configmap", "", "NAMESPACE/NAME of the ConfigMap with UDP ports and their Services")
	f.StringVar(&cfg.DefaultCertificate, "default-ssl-certificate", "", "NAMESPACE/NAME of the Secret for hosts without a certificate (default: one that is made here)")
	f.StringVar(&cfg.DefaultBackend, "default-backend-service", "", "NAMESPACE/NAME of the Service for requests that no Ingress asks for (default: answer 404)")
}

func (cfg *Config) addStatus(f *pflag.FlagSet) {
	f.BoolVar(&cfg.UpdateStatus, "update-status", true, "write addresses into the status of Ingresses")
	f.StringVar(&cfg.PublishService, "publish-service", "", "NAMESPACE/NAME of the Service whose addresses these are (default: those of the nodes with a Pod of this one's labels)")
	f.StringSliceVar(&cfg.PublishAddresses, "publish-status-address", nil, "addresses or host names in place of that, with commas between them")
	f.BoolVar(&cfg.InternalIP, "report-node-internal-ip-address", false, "of nodes, write internal addresses")
	f.BoolVar(&cfg.ClearStatus, "update-status-on-shutdown", true, "take the addresses away when the last Pod ends")
	f.BoolVar(&cfg.NoSyncEvents, "disable-sync-events", false, "write no events with the reason Sync")
	f.StringVar(&cfg.ElectionID, "election-id", "ingress-controller-leader", "name of the Lease of the process that writes status and events, in the Pod's namespace, or else in "+defaultNamespace)
	f.DurationVar(&cfg.ElectionTTL, "election-ttl", defaultTTL, "how long a holder that has died keeps the Lease")
	f.BoolVar(&cfg.NoElection, "disable-leader-election", false, "write status and events without the Lease; for a single process")
}

const (
	// defaultNamespace is that of the Lease outside of a Pod.
	defaultNamespace = "ingress-nginx"
	defaultTTL       = 30 * time.Second
	minTTL           = 5 * time.Second // below, a busy API server would end terms
)

// Meant tells whether the command line, or the Pod that the process is in, has a cluster to serve.
func (cfg *Config) Meant() bool {
	return cfg.Kubeconfig != "" || cfg.Master != "" || os.Getenv("KUBERNETES_SERVICE_HOST") != ""
}
