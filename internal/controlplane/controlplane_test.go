package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// deadline is how long anything asynchronous may take.
const deadline = 30 * time.Second

// eventually polls until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(deadline)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen within %v", what, deadline)
		}
		time.Sleep(20 * time.Millisecond) // between polls
	}
}

// adminConfig is the administrator's kubeconfig, as kubectl would load it.
func (r *running) adminConfig(t *testing.T) *rest.Config {
	t.Helper()
	data, err := r.PKI().Kubeconfig(r.URL, "test")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func clientFor(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestControlPlane runs one control plane through its whole life, because a
// start costs more than all the checks together.
func TestControlPlane(t *testing.T) {
	dir := shortDir(t)
	r := launch(t, dir, func(c *Config) { c.OldAPIs = true })
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	t.Run("discovery", func(t *testing.T) { testDiscovery(t, r) })
	t.Run("openapi", func(t *testing.T) { testOpenAPI(t, r) })
	t.Run("custom resources", func(t *testing.T) { testCustomResources(ctx, t, r) })
	t.Run("service account token", func(t *testing.T) { testServiceAccountToken(ctx, t, r) })
	t.Run("identities", func(t *testing.T) { testIdentities(ctx, t, r) })
	t.Run("headers", func(t *testing.T) { testHeaders(ctx, t, r) })
	t.Run("nodes", func(t *testing.T) { testNodes(ctx, t, r) })
	t.Run("workloads", func(t *testing.T) { testWorkloads(ctx, t, r) })
	t.Run("watch", func(t *testing.T) { testWatch(ctx, t, r) })
	t.Run("slow watch", func(t *testing.T) { testSlowWatch(ctx, t, r) })
	t.Run("webhook", func(t *testing.T) { testWebhook(ctx, t, r) })
	t.Run("unsupported", func(t *testing.T) { testUnsupported(ctx, t, r) })
	t.Run("policy", func(t *testing.T) { testPolicy(ctx, t, r) })
	t.Run("certificate signing", func(t *testing.T) { testCertificateSigning(ctx, t, r) })
	t.Run("load balancing", func(t *testing.T) { testLoadBalancing(ctx, t, r) })
	t.Run("old versions", func(t *testing.T) { testOldAPIs(ctx, t, r) })
	t.Run("usage", func(t *testing.T) { testUsage(ctx, t, r) })
	t.Run("components", func(t *testing.T) { testComponents(ctx, t, r) })
	t.Run("aggregation", func(t *testing.T) { testAggregation(ctx, t, r) })

	before := clientFor(t, r.adminConfig(t))
	uid := kubeSystem(ctx, t, before)
	token := requestToken(ctx, t, before)
	roles := roleVersions(ctx, t, before)
	prepareDefinitions(ctx, t, r)
	left := leaveOld(ctx, t, before)
	takeUsage(ctx, t, r)
	if took := r.stop(t); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}

	// The second start finds data and keys, needn't be durable, and serves no old
	// versions.
	r = launch(t, dir, func(c *Config) { c.Ephemeral = true })
	defer r.stop(t)
	checkUsage(ctx, t, r)
	checkHalfDeleted(ctx, t, r)
	after := clientFor(t, r.adminConfig(t))
	if got := kubeSystem(ctx, t, after); got != uid {
		t.Errorf("after a restart kube-system has UID %s, want %s", got, uid)
	}
	if got := roleVersions(ctx, t, after); got != roles {
		t.Error("after a restart the default ClusterRoles were written again")
	}
	checkDefinitions(ctx, t, r)
	checkWithoutOld(ctx, t, r, left)
	if user := whoami(ctx, t, tokenConfig(r, token)); user != "system:serviceaccount:default:default" {
		t.Errorf("a token from before the restart belongs to %q", user)
	}
}

func kubeSystem(ctx context.Context, t *testing.T, c *kubernetes.Clientset) types.UID {
	t.Helper()
	ns, err := c.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.UID
}

// roleVersions changes when a ClusterRole of upstream's is written. The
// aggregated ones are left out: their controller may still be at work.
func roleVersions(ctx context.Context, t *testing.T, c *kubernetes.Clientset) string {
	t.Helper()
	list, err := c.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/bootstrapping=rbac-defaults"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range list.Items {
		if r.AggregationRule == nil {
			b.WriteString(r.Name + "=" + r.ResourceVersion + ";")
		}
	}
	if len(list.Items) < 50 {
		t.Errorf("there are only %d default ClusterRoles", len(list.Items))
	}
	return b.String()
}

func requestToken(ctx context.Context, t *testing.T, c *kubernetes.Clientset) string {
	t.Helper()
	var token string
	eventually(t, "default ServiceAccount", func() bool {
		tr, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			return false
		}
		token = tr.Status.Token
		return true
	})
	return token
}

func tokenConfig(r *running, token string) *rest.Config {
	return &rest.Config{
		Host:            r.URL,
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAData: r.PKI().CABundle()},
	}
}

// whoami is the name the API server knows a client by; empty if it refuses it.
func whoami(ctx context.Context, t *testing.T, cfg *rest.Config) string {
	t.Helper()
	review, err := clientFor(t, cfg).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		if !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
			t.Errorf("SelfSubjectReview: %v", err)
		}
		return ""
	}
	return review.Status.UserInfo.Username
}

func testDiscovery(t *testing.T, r *running) {
	// Over the network, on the second listener.
	client := clientFor(t, r.adminConfig(t))
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if version.Major == "" || version.Minor == "" {
		t.Errorf("the server's version is %+v", version)
	}
	groups, err := client.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			have[v.GroupVersion] = true
		}
	}
	for _, gv := range []string{
		"v1", "admissionregistration.k8s.io/v1", "apiextensions.k8s.io/v1", "apiregistration.k8s.io/v1", "apps/v1",
		"authentication.k8s.io/v1", "authorization.k8s.io/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1",
		"certificates.k8s.io/v1", "coordination.k8s.io/v1", "discovery.k8s.io/v1", "events.k8s.io/v1",
		"flowcontrol.apiserver.k8s.io/v1", "networking.k8s.io/v1", "node.k8s.io/v1", "policy/v1",
		"rbac.authorization.k8s.io/v1", "resource.k8s.io/v1", "scheduling.k8s.io/v1", "storage.k8s.io/v1",
	} {
		if !have[gv] {
			t.Errorf("group version %s is not served", gv)
		}
	}
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		eventually(t, "namespace "+name, func() bool {
			_, err := client.CoreV1().Namespaces().Get(context.Background(), name, metav1.GetOptions{})
			return err == nil
		})
	}
	eventually(t, "ConfigMap kube-root-ca.crt", func() bool {
		cm, err := client.CoreV1().ConfigMaps("default").Get(context.Background(), "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil && cm.Data["ca.crt"] == string(r.PKI().CABundle())
	})
	svc, err := client.CoreV1().Services("default").Get(context.Background(), "kubernetes", metav1.GetOptions{})
	if err != nil || svc.Spec.ClusterIP != "10.96.0.1" {
		t.Errorf("Service kubernetes is %v, %v; want address 10.96.0.1", svc.Spec.ClusterIP, err)
	}
}

func testOpenAPI(t *testing.T, r *running) {
	cfg := r.adminConfig(t)
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, accept string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, r.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s: %.200s", path, resp.Status, body)
		}
		return resp, string(body)
	}

	paths, err := clientFor(t, cfg).Discovery().OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"api/v1", "apis/apps/v1", "apis/apiextensions.k8s.io/v1", "apis/apiregistration.k8s.io/v1", "version"} {
		gv, ok := paths[name]
		if !ok {
			t.Errorf("OpenAPI v3 has no document for %s", name)
			continue
		}
		resp, body := get(gv.ServerRelativeURL(), "application/json")
		if !strings.Contains(body, `"openapi":"3.0.0"`) {
			t.Errorf("document %s is no OpenAPI v3: %.100s", name, body)
		}
		if cc := resp.Header.Get("Cache-Control"); !strings.Contains(cc, "immutable") {
			t.Errorf("document %s can't be cached: Cache-Control is %q", name, cc)
		}
	}
	if _, body := get("/openapi/v3/apis/apps/v1", "application/json"); !strings.Contains(body, "io.k8s.api.apps.v1.Deployment") {
		t.Error("the document of apps/v1 doesn't define Deployment")
	}
	if _, body := get("/openapi/v3/apis/apps/v1?hash=OLD", "application/json"); !strings.Contains(body, "Deployment") {
		t.Error("a document with an old hash isn't redirected to the present one")
	}
	resp, body := get("/openapi/v3/apis/apps/v1", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf")
	if ct := resp.Header.Get("Content-Type"); !strings.Contains(ct, "protobuf") || len(body) == 0 {
		t.Errorf("asked for protobuf, got %s with %d bytes", ct, len(body))
	}
	_, v2 := get("/openapi/v2", "application/json")
	for _, name := range []string{"io.k8s.api.apps.v1.Deployment", "CustomResourceDefinition", "APIService", "/api/v1/namespaces/{namespace}/pods"} {
		if !strings.Contains(v2, name) {
			t.Errorf("OpenAPI v2 doesn't mention %s", name)
		}
	}
}

func testServiceAccountToken(ctx context.Context, t *testing.T, r *running) {
	token := requestToken(ctx, t, clientFor(t, r.adminConfig(t)))
	if user := whoami(ctx, t, tokenConfig(r, token)); user != "system:serviceaccount:default:default" {
		t.Errorf("the token of default/default belongs to %q", user)
	}
	if user := whoami(ctx, t, tokenConfig(r, token+"x")); user != "" {
		t.Errorf("a damaged token belongs to %q", user)
	}
	// A token Secret is filled by the token controller.
	client := clientFor(t, r.adminConfig(t))
	_, err := client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "token Secret", func() bool {
		s, err := client.CoreV1().Secrets("default").Get(ctx, "token", metav1.GetOptions{})
		return err == nil && len(s.Data[corev1.ServiceAccountTokenKey]) > 0
	})
}

func testIdentities(ctx context.Context, t *testing.T, r *running) {
	root := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	nobody := clientFor(t, r.RESTConfig("test-nobody"))

	_, err := nobody.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "test-nobody") {
		t.Errorf("listing Secrets without a role gives %v, want forbidden for test-nobody", err)
	}
	_, err = root.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "nobody-views"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "test-nobody"}},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", APIGroup: rbacv1.GroupName, Name: "view"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "role granted by binding", func() bool {
		_, err := nobody.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err == nil
	})
	// Another client's token isn't the connection's own identity.
	review, err := root.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: "nonsense"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.Authenticated {
		t.Errorf("TokenReview took nonsense for %s", review.Status.User.Username)
	}
}

func testHeaders(ctx context.Context, t *testing.T, r *running) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.PKI().CABundle())
	network := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	memory, err := rest.HTTPClientFor(r.RESTConfig("test-spoof"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		client *http.Client
		url    string
		header http.Header
		want   string
	}{
		{"front proxy headers without its certificate", network, r.URL,
			http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}}, "system:anonymous"},
		{"impersonation by nobody", network, r.URL,
			http.Header{"Impersonate-User": {"admin"}, "Impersonate-Group": {"system:masters"}}, "system:anonymous"},
		{"front proxy headers in memory", memory, inMemoryHost,
			http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}}, "test-spoof"},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, tc.url+"/api/v1/namespaces/kube-system/secrets", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = tc.header
		resp, err := tc.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusForbidden || !bytes.Contains(body, []byte(tc.want)) {
			t.Errorf("%s: got %s: %.200s; want 403 for %s", tc.name, resp.Status, body, tc.want)
		}
	}
}

// testSlowWatch changes objects while nobody reads the watch of them: it lives on, and has all changes.
func testSlowWatch(ctx context.Context, t *testing.T, r *running) {
	const changes = 400
	configMaps := clientFor(t, r.RESTConfig("test-root", "system:masters")).CoreV1().ConfigMaps("default")
	w, err := configMaps.Watch(ctx, metav1.ListOptions{LabelSelector: "slow=watch"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	// Together these are more than any buffer on the way has room for.
	large := strings.Repeat("x", 32<<10)
	for i := range changes {
		m := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("slow-%d", i), Labels: map[string]string{"slow": "watch"}},
			Data:       map[string]string{"large": large},
		}
		if _, err := configMaps.Create(ctx, m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	timeout := time.After(deadline)
	for i := range changes {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				t.Fatalf("the watch ended after %d of %d events", i, changes)
			}
			if m, ok := e.Object.(*corev1.ConfigMap); !ok || m.Name != fmt.Sprintf("slow-%d", i) {
				t.Fatalf("event %d is %v", i, e)
			}
		case <-timeout:
			t.Fatalf("%d of %d events within %v", i, changes, deadline)
		}
	}
}

func testWatch(ctx context.Context, t *testing.T, r *running) {
	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	yes := true
	w, err := client.CoreV1().Namespaces().Watch(ctx, metav1.ListOptions{
		SendInitialEvents:    &yes,
		AllowWatchBookmarks:  true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	await := func(what string, ok func(watch.Event) bool) {
		t.Helper()
		timeout := time.After(deadline)
		for {
			select {
			case e, open := <-w.ResultChan():
				if !open {
					t.Fatalf("%s: the watch ended", what)
				}
				if ok(e) {
					return
				}
			case <-timeout:
				t.Fatalf("%s: did not come within %v", what, deadline)
			}
		}
	}
	await("bookmark after the initial events", func(e watch.Event) bool {
		ns, ok := e.Object.(*corev1.Namespace)
		if !ok {
			t.Fatalf("the watch sent %v", e.Object)
		}
		if e.Type == watch.Bookmark {
			return ns.Annotations[metav1.InitialEventsAnnotationKey] == "true"
		}
		seen[ns.Name] = true
		return false
	})
	if !seen["default"] || !seen["kube-system"] {
		t.Errorf("the initial events were only %v", seen)
	}
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "watched"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("new namespace", func(e watch.Event) bool {
		ns, ok := e.Object.(*corev1.Namespace)
		return ok && e.Type == watch.Added && ns.Name == "watched"
	})
	w.Stop()

	// Informers ask for their list the same way.
	factory := informers.NewSharedInformerFactory(client, 0)
	lister := factory.Core().V1().Namespaces().Lister()
	informerCtx, stop := context.WithTimeout(ctx, deadline)
	defer stop()
	factory.Start(informerCtx.Done())
	factory.WaitForCacheSync(informerCtx.Done())
	if _, err := lister.Get("watched"); err != nil {
		t.Errorf("an informer's cache: %v", err)
	}
	stop()
	factory.Shutdown()

	// The namespace controller finds every kind of object by discovery.
	if err := client.CoreV1().Namespaces().Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "deletion of namespace", func() bool {
		_, err := client.CoreV1().Namespaces().Get(ctx, "watched", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}
