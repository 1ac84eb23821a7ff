package credentialprovider

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
)

// accounts has one service account, web/app.
type accounts struct{ annotations map[string]string }

func (a accounts) ServiceAccount(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if namespace != "web" || name != "app" {
		return nil, fmt.Errorf("no account %s/%s", namespace, name)
	}
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "u1", Annotations: a.annotations}}, nil
}

func (a accounts) Token(_ context.Context, _, _ string, req *authv1.TokenRequest) (*authv1.TokenRequest, error) {
	out := req.DeepCopy()
	out.Status.Token = "token-for-" + req.Spec.BoundObjectRef.Name + "-" + req.Spec.Audiences[0]
	return out, nil
}

// bench is a provider's program, which counts its calls.
type bench struct {
	dir   string
	clock *clocktesting.FakePassiveClock
}

func newBench(t *testing.T, program, fields string) (*bench, *Providers) {
	t.Helper()
	b := &bench{dir: t.TempDir(), clock: clocktesting.NewFakePassiveClock(time.Unix(1000, 0))}
	text := "#!/bin/sh\necho call >>" + b.dir + "/calls\n" + program
	if err := os.WriteFile(filepath.Join(b.dir, "plugin"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	config := "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: plugin\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n" + fields
	if err := os.WriteFile(filepath.Join(b.dir, "config.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Path: filepath.Join(b.dir, "config.yaml"), BinDir: b.dir, Clock: b.clock, Accounts: accounts{map[string]string{"role": "reader"}}})
	if err != nil {
		t.Fatal(err)
	}
	return b, p
}

func (b *bench) calls(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "call")
}

const plain = "  matchImages: ['*.test']\n  defaultCacheDuration: 10s\n"

// answer has the program answer with that cacheKeyType, and with more fields.
func answer(kind, more string) string {
	return fmt.Sprintf("cat >/dev/null; echo '{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"kind\":\"CredentialProviderResponse\",\"cacheKeyType\":%q%s}'", kind, more)
}

const auth = `,"auth":{"r.test":{"username":"u","password":"p"},"r.test/team":{"username":"team","password":"t"},"other.test":{"username":"no"}}`

func pod(name string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = "web", name, "p1"
	p.Spec.ServiceAccountName = "app"
	return p
}

func TestLookup(t *testing.T) {
	b, p := newBench(t, answer("Registry", auth), plain)
	for i, tc := range []struct {
		image, want string
		calls       int
	}{
		{"elsewhere.example/app", "", 0},
		{"r.test/team/app", "team u", 1},
		{"r.test/app", "u", 1},
		{"other.test/app", "no", 2},
	} {
		found, err := p.Lookup(t.Context(), pod("a"), tc.image)
		var users []string
		for _, f := range found {
			users = append(users, f.Username)
			if f.Account != nil {
				t.Errorf("%+v has an account", f)
			}
		}
		if got := strings.Join(users, " "); err != nil || got != tc.want || b.calls(t) != tc.calls {
			t.Errorf("%d: %s = %q, %v after %d calls", i, tc.image, got, err, b.calls(t))
		}
	}
	if found, err := (*Providers)(nil).Lookup(t.Context(), pod("a"), "r.test/app"); found != nil || err != nil {
		t.Errorf("no providers: %v, %v", found, err)
	}
}

func TestCache(t *testing.T) {
	for _, tc := range []struct {
		kind, more string
		calls      string // after the same image, another, another registry, and the same after 11 s
	}{
		{"Image", auth, "1 2 3 4"},
		{"Registry", auth, "1 1 2 3"},
		{"Global", auth, "1 1 1 2"},
		{"Global", auth + `,"cacheDuration":"1h"`, "1 1 1 1"},
		{"Image", auth + `,"cacheDuration":"0s"`, "2 3 4 5"},
	} {
		b, p := newBench(t, answer(tc.kind, tc.more), plain)
		var calls []string
		look := func(image string) {
			t.Helper()
			if _, err := p.Lookup(t.Context(), pod("a"), image); err != nil {
				t.Fatal(err)
			}
		}
		look("r.test/app")
		for _, image := range []string{"r.test/app", "r.test/app2", "s.test/app"} {
			look(image)
			calls = append(calls, fmt.Sprint(b.calls(t)))
		}
		b.clock.SetTime(b.clock.Now().Add(11 * time.Second))
		look("r.test/app")
		calls = append(calls, fmt.Sprint(b.calls(t)))
		if got := strings.Join(calls, " "); got != tc.calls {
			t.Errorf("%s%s: calls = %s, want %s", tc.kind, tc.more, got, tc.calls)
		}
	}
}

const tokenFields = plain + "  tokenAttributes: {serviceAccountTokenAudience: reg, cacheType: %s, requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [%s]}\n"

// echo answers with the token of the request as the password.
const echo = `in=$(cat); t=${in#*serviceAccountToken\":\"}; t=${t%%\"*}
case $in in *'"role":"reader"'*) ;; *) echo no role >&2; exit 1;; esac
echo '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Global","auth":{"*.test":{"username":"sa","password":"'$t'"}}}'`

func TestServiceAccounts(t *testing.T) {
	b, p := newBench(t, echo, fmt.Sprintf(tokenFields, "Token", "role"))
	for _, name := range []string{"a", "b", "a"} {
		found, err := p.Lookup(t.Context(), pod(name), "r.test/app")
		if err != nil || len(found) != 1 || found[0].Password != "token-for-"+name+"-reg" || *found[0].Account != (Account{"web", "app", "u1"}) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	if b.calls(t) != 2 {
		t.Errorf("%d calls for two tokens", b.calls(t))
	}
	static := pod("s")
	static.Spec.ServiceAccountName = ""
	if found, err := p.Lookup(t.Context(), static, "r.test/app"); len(found) != 0 || err != nil {
		t.Errorf("a static Pod: %v, %v", found, err)
	}
	_, p = newBench(t, echo, fmt.Sprintf(tokenFields, "Token", "missing"))
	if found, err := p.Lookup(t.Context(), pod("a"), "r.test/app"); len(found) != 0 || err != nil {
		t.Errorf("without the annotation: %v, %v", found, err)
	}
	_, p = newBench(t, echo, fmt.Sprintf(tokenFields, "ServiceAccount", "role"))
	if _, err := p.Lookup(t.Context(), pod("a"), "r.test/app"); err == nil || !strings.Contains(err.Error(), "cacheType: Token") {
		t.Errorf("the token as a password: %v", err)
	}
}

func TestFailures(t *testing.T) {
	for program, want := range map[string]string{
		"echo out of order >&2; exit 3":   "exit status 3: out of order",
		"echo '{\"password\":\"secret\"'": "not a CredentialProviderResponse",
		"echo '{}'":                       `apiVersion ""`,
		answer("Any", auth):               `cacheKeyType "Any"`,
		"head -c 5000000 /dev/zero":       "not a CredentialProviderResponse",
	} {
		_, p := newBench(t, program, plain)
		if _, err := p.Lookup(t.Context(), pod("a"), "r.test/app"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", program, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	const (
		kind = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
		head = kind + "- name: a\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
	)
	for text, want := range map[string]string{
		head + plain: "",
		"kind: CredentialProviderConfig\napiVersion: v1": `apiVersion "v1"`,
		"a: [":                        "yaml",
		kind:                          "providers: give at least one",
		head + plain + "  command: x": `unknown field "providers[0].command"`,
		head:                          "providers[0].matchImages",
		head + "  matchImages: [a]":   "defaultCacheDuration",
		kind + "- name: a\n  apiVersion: credentialprovider.kubelet.k8s.io/v1alpha1\n" + plain: "v1alpha1",
		strings.Replace(head, "name: a", "name: a/b", 1) + plain:                               `name "a/b"`,
		head + fmt.Sprintf(tokenFields, "Often", "role"):                                       `cacheType "Often"`,
		head + fmt.Sprintf(tokenFields, "Token", "'a b'"):                                      "no annotation's name",
	} {
		_, err := parse([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(file, []byte(head+plain), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, dir} {
		if err := Check(path, dir); err == nil || !strings.Contains(err.Error(), `the program of "a"`) {
			t.Errorf("%s without its program: %v", path, err)
		}
	}
}
