package nginx

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"minato/internal/ingress/table"
)

var update = flag.Bool("update", false, "write the golden files and the documentation anew")

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s is not what is made now; run the test with -update and look at the change:\n%s", path, d)
	}
}

// manifests are those of a user who comes from ingress-nginx.
func manifests() []runtime.Object {
	class, other := "nginx", "traefik"
	api := ingress("rewrite-target", "/$2", "proxy-read-timeout", "60s", "cors-allow-origin", "*", "enable-cors", "true", "auth-url", "http://auth.test/", "auth-cache-duration", "never",
		"configuration-snippet", "more_set_headers \"X-Frame-Options: DENY\";\nif ($http_x_beta = 1) {\n  return 403;\n}\n", "ssl-redirekt", "true", "use-regex", "true")
	api.Name = "api"
	api.Spec.IngressClassName = &class
	api.Spec.DefaultBackend = &networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Kind: "Bucket", Name: "x"}}
	web := ingress("auth-type", "basic", "auth-secret", "users", "affinity", "cookie", "auth-realm", "shop")
	web.Spec.IngressClassName = &class
	web.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"shop.test"}, SecretName: "shop-tls"}}
	foreign := ingress("rewrite-target", "/")
	foreign.Name, foreign.Spec.IngressClassName = "foreign", &other
	plain := ingress()
	plain.Namespace, plain.Name = "", "plain"
	cm := settingsMap("use-gzip", "yes", "hsts", "false", "http-snippet", "gzip on;", "proxy-real-ip-cidr", "10.0.0.0/8")
	tcp := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "tcp-services"}, Data: map[string]string{"22": "git/ssh:22", "x": "y"}}
	list := &corev1.List{Items: []runtime.RawExtension{{Object: web}, {Object: tcp}}}
	old := &networkingv1beta1.Ingress{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1beta1", Kind: "Ingress"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old"}}
	return []runtime.Object{api, foreign, plain, cm, list, &corev1.Pod{}, old}
}

func TestCheck(t *testing.T) {
	r, err := Check(manifests(), CheckConfig{Class: table.DefaultClassConfig(), Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	var text, js bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteJSON(&js); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/check.txt", text.Bytes())
	var back Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, &back); d != "" {
		t.Errorf("JSON loses something: %s", d)
	}
}

func items(o CheckedObject) map[string]Item {
	out := map[string]Item{}
	for _, it := range o.Items {
		out[strings.TrimPrefix(it.Field, DefaultPrefix+"/")] = it
	}
	return out
}

// In a cluster what isn't there isn't there; in a file it may be elsewhere.
func TestCheckPartial(t *testing.T) {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: table.ControllerNginx}}
	for _, partial := range []bool{true, false} {
		r, err := Check(append(manifests(), class), CheckConfig{Class: table.DefaultClassConfig(), Partial: partial})
		if err != nil {
			t.Fatal(err)
		}
		var web CheckedObject
		for _, o := range r.Ingresses {
			if o.Name == "web" {
				web = o
			}
		}
		it := items(web)
		want := Refused
		if partial {
			want = it["auth-secret"].Support // honoured as far as one can see: not refused
			if want == Refused || it["spec.tls[0].secretName"].Support != Honoured {
				t.Errorf("offline: %+v", it)
			}
		}
		if it["auth-secret"].Support != want || (web.Closed != "") == partial {
			t.Errorf("partial %v: %+v, closed %q", partial, it["auth-secret"], web.Closed)
		}
	}
}

// Each annotation's row and its verdict agree.
func TestCheckAgreesWithTheList(t *testing.T) {
	c := newCluster(t)
	for _, a := range known().all {
		ing := ingress(append(companions(a), a.Name, a.Example)...)
		class := "nginx"
		ing.Spec.IngressClassName = &class
		objects := []runtime.Object{ing, settingsMap("global-allowed-response-headers", "X-Answer")}
		for _, o := range c.secrets {
			objects = append(objects, o)
		}
		for _, o := range c.configMaps {
			objects = append(objects, o)
		}
		for _, o := range c.services {
			objects = append(objects, o)
		}
		r, err := Check(objects, CheckConfig{Class: table.DefaultClassConfig(), Partial: true, Flags: Flags{Passthrough: true}})
		if err != nil || len(r.Ingresses) != 1 {
			t.Fatal(err, r)
		}
		if it := items(r.Ingresses[0])[a.Name]; it.Support != a.Support {
			t.Errorf("%s: %s, the list says %s (%q)", a.Name, it.Support, a.Support, it.Notes)
		}
	}
}
