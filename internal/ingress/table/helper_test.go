package table

import (
	"fmt"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ing makes an Ingress of namespace d from lines: "host type path service:port", with "-" for no host; "host -" for a
// rule without http; "default service:port"; "resource" as a service for a resource backend; "tls secret host…".
func ing(name string, age int, lines ...string) *Ingress {
	o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))}}
	for _, l := range lines {
		f := strings.Fields(l)
		switch {
		case f[0] == "default":
			b := backendFor(f[1])
			o.Spec.DefaultBackend = &b
		case f[0] == "tls":
			t := networkingv1.IngressTLS{SecretName: f[1], Hosts: f[2:]}
			if f[1] == "-" {
				t.SecretName = ""
			}
			o.Spec.TLS = append(o.Spec.TLS, t)
		case f[1] == "-":
			o.Spec.Rules = append(o.Spec.Rules, networkingv1.IngressRule{Host: strings.TrimPrefix(f[0], "-")})
		default:
			host := strings.TrimPrefix(f[0], "-")
			n := len(o.Spec.Rules)
			if n == 0 || o.Spec.Rules[n-1].Host != host {
				o.Spec.Rules = append(o.Spec.Rules, networkingv1.IngressRule{Host: host})
				n++
			}
			r := &o.Spec.Rules[n-1]
			if r.HTTP == nil {
				r.HTTP = &networkingv1.HTTPIngressRuleValue{}
			}
			p := networkingv1.HTTPIngressPath{Path: f[2], Backend: backendFor(f[3])}
			if f[2] == "''" {
				p.Path = ""
			}
			if t := map[string]networkingv1.PathType{"E": networkingv1.PathTypeExact, "P": networkingv1.PathTypePrefix, "I": networkingv1.PathTypeImplementationSpecific}[f[1]]; t != "" {
				p.PathType = &t
			}
			r.HTTP.Paths = append(r.HTTP.Paths, p)
		}
	}
	return &Ingress{Object: o}
}

func backendFor(s string) networkingv1.IngressBackend {
	if s == "resource" {
		return networkingv1.IngressBackend{}
	}
	svc, port, _ := strings.Cut(s, ":")
	b := &networkingv1.IngressServiceBackend{Name: svc}
	if n := 0; port != "" {
		if _, err := fmt.Sscan(port, &n); err == nil {
			b.Port.Number = int32(n)
		} else {
			b.Port.Name = port
		}
	}
	return networkingv1.IngressBackend{Service: b}
}

func (i *Ingress) with(f func(i *Ingress)) *Ingress { f(i); return i }

func nginx(i *Ingress)    { i.Class = ClassNginx }
func useRegex(i *Ingress) { i.Options.Location.UseRegex = true }

func rewrite(target string) func(*Ingress) {
	return func(i *Ingress) {
		i.Options.Location.Rewrite = &Rewrite{Target: Text{Parts: []Part{{Literal: target}}}}
	}
}

func canary(i *Ingress) { i.Options.Canary = &Canary{Weight: 50, Total: 100} }

func build(ings ...*Ingress) *Table {
	b := NewBuilder()
	for _, i := range ings {
		b.Set(i)
	}
	return b.Table()
}

// answer tells where a request goes: the service of its backend, or its status.
func answer(t *Table, host, path string) string {
	var m Match
	t.Match(host, path, &m)
	switch {
	case m.RedirectHost != "":
		return "308 " + m.RedirectHost
	case m.Err != nil:
		return m.Err.Error()
	case m.Route.Backend == nil:
		return fmt.Sprint(m.Route.NoBackend)
	}
	return m.Route.Backend.Service
}

func check(tt *testing.T, t *Table, want map[string]string) {
	tt.Helper()
	for url, w := range want {
		host, path, _ := strings.Cut(url, "/")
		if got := answer(t, host, "/"+path); got != w {
			tt.Errorf("%s goes to %s, want %s", url, got, w)
		}
	}
}

func key(name string) types.NamespacedName { return types.NamespacedName{Namespace: "d", Name: name} }
