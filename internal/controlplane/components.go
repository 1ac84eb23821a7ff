package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	"k8s.io/apiserver/pkg/authorization/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	genericcontrollermanager "k8s.io/controller-manager/app"

	"minato/internal/controlplane/controllers"
)

// Component is one of upstream's programs beside the API server that the control
// plane stands for.
type Component struct {
	// Name is the program's, Port the one on which it answers everywhere.
	Name string
	Port uint16
	// user is who the program is at the API server.
	user string
}

// The components.
var (
	KubeScheduler         = Component{Name: controllers.Scheduler, Port: 10259, user: "system:kube-scheduler"}
	KubeControllerManager = Component{Name: controllers.ControllerManager, Port: 10257, user: "system:kube-controller-manager"}
)

// errStarting is how a component is before the controllers were made.
var errStarting = errors.New("the control plane is still starting")

// components are reached from their first run on.
type components struct {
	manager atomic.Pointer[controllers.Manager]
}

func (c *components) check(name string) error {
	if m := c.manager.Load(); m != nil {
		return m.Check(name)
	}
	return errStarting
}

// Check asks a component how it is.
func (c *ControlPlane) Check(of Component) error { return c.components.check(of.Name) }

// How long answers about a client are used again, which are upstream's values.
const reviewTTL = 10 * time.Second

// componentHandler answers for one component, with the authentication and
// authorization of upstream's programs: whoever may "get" the path as a
// non-resource URL, and anybody where it is about health.
type componentHandler struct {
	plane *ControlPlane
	of    Component

	mu     sync.Mutex
	bundle []byte // the CAs that chain accepts
	chain  http.Handler
}

// ComponentHandler serves /healthz, /livez, /readyz and /metrics of a component. It
// has to be served over TLS, and to ask clients for their certificates.
func (c *ControlPlane) ComponentHandler(of Component) http.Handler {
	return &componentHandler{plane: c, of: of}
}

// ServeHTTP implements http.Handler.
func (h *componentHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	chain, err := h.current()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	chain.ServeHTTP(w, r)
}

// current makes the chain anew when the cluster has another CA.
func (h *componentHandler) current() (http.Handler, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bundle := h.plane.authority.CABundle(); h.chain == nil || !bytes.Equal(bundle, h.bundle) {
		chain, err := h.build(bundle)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.of.Name, err)
		}
		h.chain, h.bundle = chain, bundle
	}
	return h.chain, nil
}

func (h *componentHandler) build(bundle []byte) (http.Handler, error) {
	client, err := kubernetes.NewForConfig(h.plane.RESTConfig(h.of.user))
	if err != nil {
		return nil, err
	}
	ca, err := dynamiccertificates.NewStaticCAContent("client-ca", bundle)
	if err != nil {
		return nil, err
	}
	authentication, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:               &apiserver.AnonymousAuthConfig{Enabled: true},
		TokenAccessReviewClient: client.AuthenticationV1(), TokenAccessReviewTimeout: reviewTTL, CacheTTL: reviewTTL,
		WebhookRetryBackoff: options.DefaultAuthWebhookRetryBackoff(), ClientCertificateCAContentProvider: ca,
	}.New()
	if err != nil {
		return nil, err
	}
	asked, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(), AllowCacheTTL: reviewTTL, DenyCacheTTL: reviewTTL,
		WebhookRetryBackoff: options.DefaultAuthWebhookRetryBackoff(),
	}.New()
	if err != nil {
		return nil, err
	}
	healthPaths, err := path.NewAuthorizer([]string{"/healthz", "/readyz", "/livez"})
	if err != nil {
		return nil, err
	}
	return genericcontrollermanager.BuildHandlerChain(http.HandlerFunc(h.answer),
		&genericapiserver.AuthorizationInfo{Authorizer: union.New(healthPaths, asked)},
		&genericapiserver.AuthenticationInfo{Authenticator: authentication}), nil
}

func (h *componentHandler) answer(w http.ResponseWriter, r *http.Request) {
	m := h.plane.components.manager.Load()
	if m == nil {
		http.Error(w, errStarting.Error(), http.StatusServiceUnavailable)
		return
	}
	m.ServeProgram(h.of.Name, w, r)
}
