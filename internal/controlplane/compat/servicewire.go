package compat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"sigs.k8s.io/yaml"

	"minato/internal/service/route"
)

// largest is how long a request may be, which is the API server's own bound.
const largest = 3 << 20

// WithFields has the API server take a field that today's types don't have,
// spec.topologyKeys of Services, and show it: between next and clients that write
// and read JSON or YAML, the field stands for the annotation that carries it. Requests
// must have upstream's RequestInfo.
func WithFields(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if !ok || !info.IsResourceRequest || info.APIGroup != "" || info.Resource != "services" || info.Subresource != "" {
			next.ServeHTTP(w, r)
			return
		}
		r, err := withAnnotation(r, info.Verb)
		if err != nil {
			responsewriters.ErrorNegotiated(apierrors.NewBadRequest(err.Error()), legacyscheme.Codecs, corev1.SchemeGroupVersion, w, r)
			return
		}
		if !plainAnswer(r) {
			next.ServeHTTP(w, r)
			return
		}
		r.Header = r.Header.Clone()
		r.Header.Del("Accept-Encoding") // what is compressed can't be changed
		out := &fieldWriter{ResponseWriter: w, watch: info.Verb == "watch"}
		if out.watch {
			next.ServeHTTP(responsewriter.WrapForHTTP1Or2(out), r) // events are flushed one by one
		} else {
			next.ServeHTTP(out, r)
		}
		out.finish()
	})
}

// withAnnotation returns a request whose body has the annotation in place of the
// field, or the same request.
func withAnnotation(r *http.Request, verb string) (*http.Request, error) {
	if r.Body == nil || verb != "create" && verb != "update" && verb != "patch" {
		return r, nil
	}
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if strings.Contains(contentType, "protobuf") || strings.Contains(contentType, "cbor") {
		return r, nil // it has no field that the type has not
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, largest+1))
	if err != nil {
		return r, fmt.Errorf("read the request: %w", err)
	}
	changed := data
	if len(data) <= largest && bytes.Contains(data, []byte(topologyKeys)) {
		if changed, err = rewrite(data, contentType); err != nil {
			return r, err
		}
	}
	out := r.Clone(r.Context())
	// What is left is more than the API server takes.
	out.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(changed), r.Body), r.Body}
	if len(data) <= largest {
		out.ContentLength = int64(len(changed))
		out.Header.Set("Content-Length", strconv.Itoa(len(changed)))
	}
	return out, nil
}

// rewrite moves the field in a request of a content type. What can't be read is left
// for the API server to refuse.
func rewrite(data []byte, contentType string) ([]byte, error) {
	if contentType == "application/json-patch+json" {
		var steps []struct {
			Path string `json:"path"`
		}
		if err := json.Unmarshal(data, &steps); err != nil {
			return data, nil
		}
		for _, s := range steps {
			if strings.HasPrefix(s.Path, "/spec/"+topologyKeys) || s.Path == "/spec" {
				return nil, fmt.Errorf("spec.topologyKeys can't be changed by a JSON patch: patch annotation %s, or use a merge patch", route.AnnotationTopologyKeys)
			}
		}
		return data, nil
	}
	isYAML := strings.Contains(contentType, "yaml")
	asJSON := data
	if isYAML {
		var err error
		if asJSON, err = yaml.YAMLToJSONStrict(data); err != nil {
			return data, nil
		}
	}
	var service map[string]any
	if err := json.Unmarshal(asJSON, &service); err != nil {
		return data, nil
	}
	found, err := keysToAnnotation(service, strings.HasSuffix(contentType, "merge-patch+json"))
	if err != nil {
		return nil, err
	}
	if !found {
		return data, nil
	}
	// JSON is YAML too.
	return json.Marshal(service)
}

// plainAnswer tells whether the answer is one that has the fields of Services, as
// text. Tables and metadata have none.
func plainAnswer(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return r.Header.Get("Upgrade") == "" && !strings.Contains(accept, "protobuf") && !strings.Contains(accept, "cbor") && !strings.Contains(accept, ";as=")
}

// fieldWriter keeps an answer until it is whole, or each line of a watch's, and
// adds the field.
type fieldWriter struct {
	http.ResponseWriter
	watch bool
	code  int
	held  bytes.Buffer
}

// Unwrap implements responsewriter.UserProvidedDecorator.
func (w *fieldWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *fieldWriter) WriteHeader(code int) {
	if w.watch {
		w.ResponseWriter.WriteHeader(code)
		return
	}
	w.code = code
}

// Write implements http.ResponseWriter.
func (w *fieldWriter) Write(p []byte) (int, error) {
	w.held.Write(p)
	if !w.watch {
		return len(p), nil
	}
	for {
		i := bytes.IndexByte(w.held.Bytes(), '\n')
		if i < 0 {
			return len(p), nil
		}
		if _, err := w.ResponseWriter.Write(append(bytes.TrimRight(withField(w.held.Next(i + 1)[:i], false), "\n"), '\n')); err != nil {
			return 0, err
		}
	}
}

// finish writes what is held.
func (w *fieldWriter) finish() {
	data := w.held.Bytes()
	if !w.watch {
		data = withField(data, strings.Contains(w.Header().Get("Content-Type"), "yaml"))
		if w.Header().Get("Content-Length") != "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		}
		if w.code != 0 {
			w.ResponseWriter.WriteHeader(w.code)
		}
	}
	if len(data) > 0 {
		_, _ = w.ResponseWriter.Write(data) // a client that is gone needs no answer
	}
}

// withField adds the field to a Service, to those of a list, or to that of an event.
func withField(data []byte, isYAML bool) []byte {
	if !bytes.Contains(data, []byte(route.AnnotationTopologyKeys)) {
		return data
	}
	changed, err := addField(data, isYAML)
	if err != nil {
		return data
	}
	return changed
}

var errNoField = errors.New("there is nothing to add")

func addField(data []byte, isYAML bool) ([]byte, error) {
	var err error
	if isYAML {
		if data, err = yaml.YAMLToJSON(data); err != nil {
			return nil, err
		}
	}
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, err
	}
	found := keysFromAnnotation(answer)
	if event, ok := answer["object"].(map[string]any); ok {
		found = keysFromAnnotation(event) || found
	}
	items, _ := answer["items"].([]any)
	for _, item := range items {
		if service, ok := item.(map[string]any); ok {
			found = keysFromAnnotation(service) || found
		}
	}
	switch {
	case !found:
		return nil, errNoField
	case isYAML:
		return yaml.Marshal(answer)
	}
	out, err := json.Marshal(answer)
	return append(out, '\n'), err
}
