package apiserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTellWork(t *testing.T) {
	for request, want := range map[string]int{
		"GET /api/v1/pods":                                                          0,
		"POST /api/v1/namespaces/a/pods":                                            1,
		"PATCH /api/v1/namespaces/a/pods/b/status":                                  1,
		"DELETE /apis/networking.k8s.io/v1/namespaces/a/ingresses/b":                1,
		"PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1": 0,
		"PATCH /api/v1/nodes/node-1/status":                                         0,
		"PATCH /api/v1/nodes/node-1":                                                1,
		"POST /apis/authentication.k8s.io/v1/tokenreviews":                          0,
		"POST /apis/authorization.k8s.io/v1/subjectaccessreviews":                   0,
	} {
		worked := 0
		s := &Server{cfg: Config{Working: func() { worked++ }}}
		served := false
		method, path, _ := strings.Cut(request, " ")
		s.tellWork(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			served = true
			if worked != want {
				t.Errorf("%s: when it was served there was work %d times, want %d", request, worked, want)
			}
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
		if !served {
			t.Errorf("%s was not served", request)
		}
	}
}
