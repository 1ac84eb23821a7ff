package usage

import (
	"errors"
	"log/slog"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/metrics/pkg/apis/metrics"
	"k8s.io/metrics/pkg/apis/metrics/install"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/clock"
)

// GroupVersion is what is served.
var GroupVersion = v1beta1.SchemeGroupVersion

// Rank is that of the group, and of its version within the group, in discovery:
// metrics-server's, which is after all of Kubernetes' own groups.
const Rank = 100

// Config is what a Server needs.
type Config struct {
	// Client reads Nodes and Pods.
	Client kubernetes.Interface
	// Certificate makes a certificate and its key, both in PEM, that the nodes know
	// the asker by.
	Certificate func() (cert, key []byte, err error)
	// Roots are the CA certificates of the nodes' own certificates, in PEM.
	Roots  func() []byte
	Clock  clock.WithDelayedExecution
	Logger *slog.Logger
}

// Server answers for one cluster.
type Server struct {
	cfg     Config
	sampler *sampler
}

// New returns a server that asks nobody before it is asked itself.
func New(cfg Config) (*Server, error) {
	if cfg.Client == nil || cfg.Certificate == nil || cfg.Roots == nil {
		return nil, errors.New("metrics.k8s.io: Config.Client, Certificate and Roots must be set")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg, newSampler(newKubelets(cfg).sample, cfg.Clock, cfg.Logger)}, nil
}

// Scheme has the kinds of the group.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme
}

// Group is the group for an API server to serve.
func (s *Server) Group(scheme *runtime.Scheme) *genericapiserver.APIGroupInfo {
	info := genericapiserver.NewDefaultAPIGroupInfo(metrics.GroupName, scheme, metav1.ParameterCodec, serializer.NewCodecFactory(scheme))
	info.VersionedResourcesStorageMap[GroupVersion.Version] = map[string]rest.Storage{
		"nodes": &nodeStorage{server: s}, "pods": &podStorage{server: s},
	}
	return &info
}
