package apiserver

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/emicklei/go-restful/v3"
	"github.com/google/uuid"
	"github.com/munnerz/goautoneg"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"

	"minato/internal/controlplane/compat"
)

const (
	openAPIV2Path = "/openapi/v2"
	openAPIV3Path = "/openapi/v3"

	v3JSON  = "application/json"
	v3Proto = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// openAPIConfig sets upstream's OpenAPI configuration, with old fields if oldAPIs is
// set.
func openAPIConfig(cfg *genericapiserver.Config, oldAPIs bool) {
	var definitions common.GetOpenAPIDefinitions = openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	if oldAPIs {
		definitions = compat.Definitions(definitions)
	}
	namer := openapinamer.NewDefinitionNamer(schemes()...)
	// Versions 2 and 3 differ in how definitions refer to each other, so each
	// has its own copy.
	cfg.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(shared(definitions), namer)
	cfg.OpenAPIConfig.Info.Title = "Kubernetes"
	cfg.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(shared(definitions), namer)
	cfg.OpenAPIV3Config.Info.Title = "Kubernetes"
	// Left unset, the first builder to run puts a function here that keeps that
	// builder, and all definitions with it, for ever.
	cfg.OpenAPIConfig.GetOperationIDAndTagsFromRoute = operationIDAndTags
	cfg.OpenAPIV3Config.GetOperationIDAndTagsFromRoute = operationIDAndTags
}

// operationIDAndTags names an operation as upstream does.
func operationIDAndTags(r common.Route) (string, []string, error) {
	route, ok := r.(*restfuladapter.RouteAdapter)
	if !ok {
		return "", nil, fmt.Errorf("OpenAPI: route %s %s is a %T, not a go-restful route", r.Method(), r.Path(), r)
	}
	return openapinamer.GetOperationIDAndTags(route.Route)
}

// shared lets the builders of one configuration work on one set of
// definitions, and forgets it when none of them holds it any more: it is the
// largest thing in the process, and idle clusters have no use for it.
func shared(get common.GetOpenAPIDefinitions) common.GetOpenAPIDefinitions {
	var (
		mu   sync.Mutex
		last weak.Pointer[map[string]common.OpenAPIDefinition]
	)
	return func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		mu.Lock()
		defer mu.Unlock()
		if defs := last.Value(); defs != nil {
			return *defs
		}
		defs := get(ref)
		last = weak.Make(&defs)
		return defs
	}
}

// lazyOpenAPI serves the OpenAPI documents of Kubernetes' own APIs and builds
// each when it is first asked for. Upstream builds and encodes all of them
// before it answers its first request.
type lazyOpenAPI struct {
	config   *common.OpenAPIV3Config
	services map[string]*restful.WebService // by path without the leading slash
	index    []byte
	hashes   map[string]string

	mu   sync.Mutex
	docs map[docKey]document
}

type docKey struct{ path, media string }

type document struct {
	data []byte
	etag string
	made time.Time
}

// installOpenAPI adds the documents of server, which must have been built with
// SkipOpenAPIInstallation, to its paths. version must differ between programs
// that serve different documents.
func installOpenAPI(server *genericapiserver.GenericAPIServer, v2 *common.Config, v3 *common.OpenAPIV3Config, version string) error {
	container, paths := server.Handler.GoRestfulContainer, server.Handler.NonGoRestfulMux

	swagger := cached.Once(cached.Func(func() (*spec.Swagger, string, error) {
		s, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(container.RegisteredWebServices()), v2)
		if err != nil {
			return nil, "", fmt.Errorf("build OpenAPI v2: %w", err)
		}
		s.Definitions = handler.PruneDefaults(s.Definitions)
		return s, uuid.New().String(), nil
	}))
	handler.NewOpenAPIServiceLazy(swagger).RegisterOpenAPIVersionedService(openAPIV2Path, paths)

	l, err := newLazyOpenAPI(container.RegisteredWebServices(), v3, version)
	if err != nil {
		return err
	}
	paths.Handle(openAPIV3Path, http.HandlerFunc(l.serveIndex))
	paths.HandlePrefix(openAPIV3Path+"/", http.HandlerFunc(l.serveDocument))
	return nil
}

func newLazyOpenAPI(services []*restful.WebService, config *common.OpenAPIV3Config, version string) (*lazyOpenAPI, error) {
	l := &lazyOpenAPI{
		config:   config,
		services: map[string]*restful.WebService{},
		hashes:   map[string]string{},
		docs:     map[docKey]document{},
	}
	index := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for _, ws := range services {
		name := strings.TrimPrefix(ws.RootPath(), "/")
		// Clients keep a document as long as its hash stays the same. What a
		// built-in API looks like depends on the program alone.
		sum := sha512.Sum512([]byte(version + "\x00" + name))
		l.services[name] = ws
		l.hashes[name] = strings.ToUpper(hex.EncodeToString(sum[:]))
		index.Paths[name] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: l.url(name)}
	}
	var err error
	if l.index, err = json.Marshal(index); err != nil {
		return nil, fmt.Errorf("encode OpenAPI v3 index: %w", err)
	}
	return l, nil
}

func (l *lazyOpenAPI) url(name string) string {
	u := url.URL{Path: path.Join(openAPIV3Path, name), RawQuery: url.Values{"hash": {l.hashes[name]}}.Encode()}
	return u.String()
}

func (l *lazyOpenAPI) serveIndex(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, openAPIV3Path, time.Time{}, bytes.NewReader(l.index))
}

func (l *lazyOpenAPI) serveDocument(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, openAPIV3Path+"/")
	if _, ok := l.services[name]; !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Vary", "Accept")
	media, ok := negotiate(r.Header.Get("Accept"))
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	if hash := r.URL.Query().Get("hash"); hash != "" {
		if hash != l.hashes[name] {
			http.Redirect(w, r, l.url(name), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123))
	}
	doc, err := l.document(docKey{name, media})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Etag", strconv.Quote(doc.etag))
	http.ServeContent(w, r, "", doc.made, bytes.NewReader(doc.data))
}

// document returns the encoded document, building it on first use.
func (l *lazyOpenAPI) document(key docKey) (document, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if doc, ok := l.docs[key]; ok {
		return doc, nil
	}
	// Upstream's installer, applied to this one path, does the building and the
	// filtering. Its service is dropped at once, and with it the decoded form.
	one := restful.NewContainer()
	one.Add(l.services[key.path])
	service := routes.OpenAPI{V3Config: l.config}.InstallV3(one, mux.NewPathRecorderMux("openapi-"+key.path))
	req := &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Path: path.Join(openAPIV3Path, key.path)},
		Header: http.Header{"Accept": {key.media}},
	}
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	service.HandleGroupVersion(rec, req)
	if rec.status != http.StatusOK || rec.body.Len() == 0 {
		return document{}, fmt.Errorf("OpenAPI v3 document of %s could not be built", key.path)
	}
	doc := document{data: rec.body.Bytes(), etag: l.hashes[key.path], made: time.Now()}
	l.docs[key] = doc
	return doc, nil
}

// negotiate picks the encoding as upstream does: the client's first choice that
// exists.
func negotiate(accept string) (string, bool) {
	if accept == "" {
		accept = "*/*"
	}
	for _, c := range goautoneg.ParseAccept(accept) {
		for _, media := range []string{v3JSON, v3Proto} {
			kind, sub, _ := strings.Cut(media, "/")
			if (c.Type == kind || c.Type == "*") && (c.SubType == sub || c.SubType == "*") {
				return media, true
			}
		}
	}
	return "", false
}

// recorder keeps a response in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
