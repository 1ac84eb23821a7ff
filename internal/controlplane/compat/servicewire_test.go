package compat

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/apis/core"
	"sigs.k8s.io/yaml"
)

// wire sends a request through WithFields, and returns what arrived behind it and
// what came back.
func wire(t *testing.T, verb, contentType, accept, body, answer string) (arrived, back string, code int) {
	t.Helper()
	h := WithFields(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if n := r.ContentLength; n >= 0 && n != int64(len(data)) {
			t.Errorf("the request says that it has %d bytes, and has %d", n, len(data))
		}
		arrived = string(data)
		if strings.Contains(accept, "yaml") {
			w.Header().Set("Content-Type", "application/yaml")
		}
		w.WriteHeader(http.StatusCreated)
		for part := range strings.SplitAfterSeq(answer, ",") { // in pieces
			if _, err := io.WriteString(w, part); err != nil {
				t.Error(err)
			}
		}
	}))
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Accept", accept)
	info := &request.RequestInfo{IsResourceRequest: true, Verb: verb, Resource: "services", APIVersion: "v1"}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(request.WithRequestInfo(r.Context(), info)))
	return arrived, w.Body.String(), w.Code
}

func TestFieldsOfRequests(t *testing.T) {
	const annotated = `metadata: {annotations: {minato.local/topology-keys: "kubernetes.io/hostname,*"}, name: web}`
	for name, test := range map[string]struct{ verb, contentType, body, want string }{
		"create":                            {"create", "application/json", `{"metadata":{"name":"web"},"spec":{"type":"ClusterIP","topologyKeys":["kubernetes.io/hostname","*"]}}`, annotated + "\nspec: {type: ClusterIP}"},
		"create in YAML":                    {"create", "application/yaml", "metadata: {name: web}\nspec:\n  topologyKeys:\n  - kubernetes.io/hostname\n  - \"*\"\n", annotated + "\nspec: {}"},
		"update beside an older annotation": {"update", "application/json", `{"metadata":{"name":"web","annotations":{"minato.local/topology-keys":"a"}},"spec":{"topologyKeys":["kubernetes.io/hostname","*"]}}`, annotated + "\nspec: {}"},
		"update to none":                    {"update", "application/json", `{"metadata":{"annotations":{"minato.local/topology-keys":"a"}},"spec":{"topologyKeys":[]}}`, "metadata: {annotations: {}}\nspec: {}"},
		"server-side apply":                 {"patch", "application/apply-patch+yaml", `{"metadata":{"name":"web"},"spec":{"topologyKeys":["kubernetes.io/hostname","*"]}}`, annotated + "\nspec: {}"},
		"strategic merge patch":             {"patch", "application/strategic-merge-patch+json", `{"spec":{"topologyKeys":["a"]}}`, "metadata: {annotations: {minato.local/topology-keys: a}}\nspec: {}"},
		"merge patch to none":               {"patch", "application/merge-patch+json", `{"spec":{"topologyKeys":null}}`, "metadata: {annotations: {minato.local/topology-keys: null}}\nspec: {}"},
		"the word elsewhere":                {"update", "application/json", `{"metadata":{"name":"topologyKeys"},"spec":{"topologyKey":["a"]}}`, "metadata: {name: topologyKeys}\nspec: {topologyKey: [a]}"},
	} {
		arrived, _, code := wire(t, test.verb, test.contentType, "application/json", test.body, "{}")
		var got, want any
		if err := yaml.Unmarshal([]byte(arrived), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := yaml.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		a, _ := yaml.Marshal(got)
		b, _ := yaml.Marshal(want)
		if string(a) != string(b) || code != http.StatusCreated {
			t.Errorf("%s: got %d\n%s\nwant\n%s", name, code, a, b)
		}
	}
	for name, test := range map[string]struct{ contentType, body, want string }{
		"no list":                {"application/json", `{"spec":{"topologyKeys":"a"}}`, "spec.topologyKeys must be a list of label keys"},
		"no text":                {"application/json", `{"spec":{"topologyKeys":[1]}}`, "spec.topologyKeys[0] must be a label key"},
		"JSON patch":             {"application/json-patch+json", `[{"op":"add","path":"/spec/topologyKeys","value":["a"]}]`, "can't be changed by a JSON patch"},
		"JSON patch of the spec": {"application/json-patch+json", `[{"op":"replace","path":"/spec","value":{"topologyKeys":["a"]}}]`, "can't be changed by a JSON patch"},
	} {
		arrived, back, code := wire(t, "patch", test.contentType, "application/json", test.body, "{}")
		if code != http.StatusBadRequest || !strings.Contains(back, test.want) || arrived != "" {
			t.Errorf("%s: got %d %s and %q arrived; want %q", name, code, back, arrived, test.want)
		}
	}
	// What the API server takes no more than refuse arrives as it is.
	for _, body := range []string{`{"spec":{"topologyKeys":`, strings.Repeat("topologyKeys", largest/10)} {
		if arrived, _, _ := wire(t, "create", "application/json", "application/json", body, "{}"); arrived != body {
			t.Errorf("%d bytes arrived as %d", len(body), len(arrived))
		}
	}
}

func TestFieldsOfAnswers(t *testing.T) {
	const service = `{"metadata":{"annotations":{"minato.local/topology-keys":"a,*"}},"spec":{"type":"ClusterIP"}}`
	const shown = `{"metadata":{"annotations":{"minato.local/topology-keys":"a,*"}},"spec":{"topologyKeys":["a","*"],"type":"ClusterIP"}}`
	const other = `{"metadata":{"name":"other"},"spec":{"type":"ClusterIP"}}`
	for name, test := range map[string]struct{ verb, accept, answer, want string }{
		"one":      {"get", "application/json", service + "\n", shown + "\n"},
		"list":     {"list", "", `{"items":[` + service + "," + other + "]}\n", `{"items":[` + shown + "," + other + "]}\n"},
		"watch":    {"watch", "application/json", `{"object":` + other + "}\n" + `{"object":` + service + "}\n", `{"object":` + other + "}\n" + `{"object":` + shown + "}\n"},
		"none":     {"get", "application/json", other, other},
		"YAML":     {"get", "application/yaml", "metadata: {annotations: {minato.local/topology-keys: a}}\nspec: {}\n", "metadata:\n  annotations:\n    minato.local/topology-keys: a\nspec:\n  topologyKeys:\n  - a\n"},
		"protobuf": {"get", "application/vnd.kubernetes.protobuf", service, service},
		"table":    {"list", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", service, service},
	} {
		if _, back, code := wire(t, test.verb, "", test.accept, "", test.answer); back != test.want || code != http.StatusCreated {
			t.Errorf("%s: got %d\n%s\nwant\n%s", name, code, back, test.want)
		}
	}
}

func TestOtherResourcesPass(t *testing.T) {
	const body = `{"spec":{"topologyKeys":["a"]}}`
	for _, info := range []*request.RequestInfo{
		nil,
		{IsResourceRequest: true, Verb: "create", Resource: "pods"},
		{IsResourceRequest: true, Verb: "create", Resource: "services", APIGroup: "serving.knative.dev"},
		{IsResourceRequest: true, Verb: "update", Resource: "services", Subresource: "status"},
	} {
		var got []byte
		h := WithFields(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body) }))
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		if info != nil {
			r = r.WithContext(request.WithRequestInfo(r.Context(), info))
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if string(got) != body {
			t.Errorf("%+v: %s arrived", info, got)
		}
	}
}

func TestTopologyKeysAreChecked(t *testing.T) {
	for keys, want := range map[string]string{
		"kubernetes.io/hostname,topology.kubernetes.io/zone,*": "",
		"*,kubernetes.io/hostname":                             `spec.topologyKeys[0]: Invalid value: "*": "*" must be the last value`,
		"a,a":                                                  `spec.topologyKeys[1]: Duplicate value: "a"`,
		"a b":                                                  `spec.topologyKeys[0]: Invalid value: "a b"`,
		"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q":                    "spec.topologyKeys: Too many: 17: must have at most 16 items",
	} {
		s := &core.Service{}
		s.Annotations = carrier(keys).Annotations
		errs := checkTopologyKeys(s)
		if err := errs.ToAggregate(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", keys, err, want)
		}
		s.Spec.ExternalTrafficPolicy = core.ServiceExternalTrafficPolicyLocal
		if err := checkTopologyKeys(s).ToAggregate(); err == nil || !strings.Contains(err.Error(), "externalTrafficPolicy: Local") {
			t.Errorf("%s with externalTrafficPolicy Local: %v", keys, err)
		}
	}
}

func TestTopologyForm(t *testing.T) {
	for keys, want := range map[string]string{
		"*":                             "no field at all",
		"kubernetes.io/hostname":        "spec.internalTrafficPolicy: Local",
		"kubernetes.io/hostname *":      "spec.trafficDistribution: PreferSameNode",
		corev1.LabelTopologyZone + " *": "spec.trafficDistribution: PreferSameZone",
		"kubernetes.io/hostname " + corev1.LabelTopologyZone + " *": "spec.trafficDistribution: PreferSameNode",
		corev1.LabelTopologyZone:                                    "none that does the same",
		"rack *":                                                    "none that does the same",
	} {
		if got := topologyForm(strings.Fields(keys)); !strings.Contains(got, "today's form: "+want) {
			t.Errorf("%s: %s", keys, got)
		}
	}
}
