package identities

import (
	"context"
	"crypto/tls"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"minato/internal/controlplane/access"
	"minato/internal/dns"
	"minato/internal/dns/zone"
	"minato/internal/service"
)

// TestIdentities starts one control plane, because that costs more than all
// the checks together.
func TestIdentities(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	// Before it is ready, as in a cluster's server.
	t.Run("parts", func(t *testing.T) { testParts(ctx, t, c) })
	t.Run("load balancer", func(t *testing.T) { testLoadBalancer(ctx, t, c) })
	t.Run("ingress", func(t *testing.T) { testIngress(ctx, t, c) })
	t.Run("claims", func(t *testing.T) { testClaims(ctx, t, c) })
	t.Run("status", func(t *testing.T) { testStatus(ctx, t, c) })
	t.Run("kubelet client", func(t *testing.T) { testKubeletClient(ctx, t, c) })
	t.Run("admin", func(t *testing.T) { testAdmin(ctx, t, c) })
	t.Run("rights", func(t *testing.T) { testRights(ctx, t, c) })
	t.Run("put back", func(t *testing.T) { testPutBack(ctx, t, c) })
}

// testParts runs what reads the API for all nodes, and the registration of a
// node's DNS, as in a cluster. Not a single request may be refused.
func testParts(ctx context.Context, t *testing.T, c *cluster) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	proxy, dnsClient := c.client(t, access.UserProxy), c.client(t, access.UserDNS)
	objects := informers.NewSharedInformerFactory(proxy, 0)
	nodes := informers.NewSharedInformerFactory(c.client(t, access.UserPodNetwork), 0)
	names := informers.NewSharedInformerFactory(dnsClient, 0)
	services, slices := objects.Core().V1().Services(), objects.Discovery().V1().EndpointSlices()
	if _, err := service.NewInformed(services, slices); err != nil {
		t.Fatal(err)
	}
	objects.Core().V1().Nodes().Informer() // `minato proxy` reads them as well
	nodes.Core().V1().Nodes().Informer()
	store, err := dns.NewStore(dns.StoreConfig{
		Zone:     zone.Config{Domain: "cluster.local", NameServers: []netip.Addr{dnsAddress}, Owned: []netip.Prefix{serviceCIDR}},
		Services: services, EndpointSlices: slices, Namespaces: names.Core().V1().Namespaces(), Client: dnsClient,
	})
	if err != nil {
		t.Fatal(err)
	}
	settings, err := dns.NewSettings(dns.SettingsConfig{Client: dnsClient, Domain: "cluster.local", Zone: store})
	if err != nil {
		t.Fatal(err)
	}
	registration, err := dns.NewRegistration(dns.RegistrationConfig{
		Client: dnsClient, NodeName: "node-1", NodeIPs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, Port: 53, MetricsPort: 9153,
		ServiceIPs: []netip.Addr{dnsAddress}, Ready: store.Ready(),
	})
	if err != nil {
		t.Fatal(err)
	}
	announced := newAnnouncing(t, c)
	for _, f := range []informers.SharedInformerFactory{objects, nodes, names} {
		f.Start(ctx.Done())
		defer f.Shutdown()
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{store.Run, settings.Run, announced.settings.Run, announced.events.Run} {
		g.Go(func() error { return run(ctx) })
	}
	for _, f := range []informers.SharedInformerFactory{objects, nodes, names} {
		for kind, ok := range f.WaitForCacheSync(ctx.Done()) {
			if !ok {
				t.Errorf("%v were not read", kind)
			}
		}
	}
	c.waitReady(t)

	// An address that a killed API server has allocated is freed for kube-dns.
	orphan(ctx, t, c)
	registered, withdraw := context.WithCancel(ctx)
	g.Go(func() error { return registration.Run(registered) })
	eventually(t, "EndpointSlice of the node", func() bool { return sliceOf(ctx, c, "node-1") == 1 })
	svc, err := c.admin.CoreV1().Services(dns.ServiceNamespace).Get(ctx, dns.ServiceName, metav1.GetOptions{})
	if err != nil || svc.Spec.ClusterIP != dnsAddress.String() {
		t.Errorf("Service kube-dns has %q, %v; want %s", svc.Spec.ClusterIP, err, dnsAddress)
	}
	// Changed by somebody else, both are put right.
	delete(svc.Labels, "k8s-app")
	if _, err := c.admin.CoreV1().Services(dns.ServiceNamespace).Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "label of kube-dns", func() bool {
		svc, err := c.admin.CoreV1().Services(dns.ServiceNamespace).Get(ctx, dns.ServiceName, metav1.GetOptions{})
		return err == nil && svc.Labels["k8s-app"] != ""
	})
	testConfiguration(ctx, t, c)
	announced.test(ctx, t, c)
	withdraw()
	eventually(t, "EndpointSlice taken away", func() bool { return sliceOf(ctx, c, "node-1") == 0 })
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	for _, r := range c.refusals() {
		t.Errorf("refused: %s", r)
	}
}

// testConfiguration has the DNS follow Pods, and tell of a configuration that
// is wrong in an event.
func testConfiguration(ctx context.Context, t *testing.T, c *cluster) {
	maps := c.admin.CoreV1().ConfigMaps(dns.ServiceNamespace)
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: dns.ConfigMapName}, Data: map[string]string{dns.ConfigMapKey: "pods: verified\n"}}
	if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	m.Data[dns.ConfigMapKey] = "nonsense: true\n"
	if _, err := maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "event about the configuration", func() bool {
		list, err := c.admin.CoreV1().Events(dns.ServiceNamespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=InvalidConfiguration"})
		return err == nil && len(list.Items) > 0
	})
}

// orphan allocates the DNS address for a kube-dns Service that is not there.
func orphan(ctx context.Context, t *testing.T, c *cluster) {
	t.Helper()
	_, err := c.admin.NetworkingV1().IPAddresses().Create(ctx, &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: dnsAddress.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: "IPv4", networkingv1.LabelManagedBy: "ipallocator.k8s.io",
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: dns.ServiceNamespace, Name: dns.ServiceName}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// sliceOf counts the node's EndpointSlices.
func sliceOf(ctx context.Context, c *cluster, node string) int {
	list, err := c.admin.DiscoveryV1().EndpointSlices(dns.ServiceNamespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + dns.ServiceName})
	if err != nil {
		return -1
	}
	n := 0
	for _, s := range list.Items {
		if len(s.Endpoints) > 0 && s.Endpoints[0].NodeName != nil && *s.Endpoints[0].NodeName == node {
			n++
		}
	}
	return n
}

func testStatus(ctx context.Context, t *testing.T, c *cluster) {
	if _, err := c.client(t, access.UserStatus).CoreV1().Pods("default").Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("reading a Pod that is not there: %v", err)
	}
	for _, name := range access.Users() {
		if name == access.UserIngressNode {
			continue // which reads those that Ingresses name
		}
		if _, err := c.client(t, name).CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s lists Secrets: %v", name, err)
		}
	}
}

// testKubeletClient asks with the certificate that the API server shows to
// nodes.
func testKubeletClient(ctx context.Context, t *testing.T, c *cluster) {
	paths := c.PKI().Paths()
	if _, err := tls.LoadX509KeyPair(paths.KubeletClientCert, paths.KubeletClientKey); err != nil {
		t.Fatal(err)
	}
	client := clientFor(t, &rest.Config{Host: c.url, TLSClientConfig: rest.TLSClientConfig{
		CAData: c.PKI().CABundle(), CertFile: paths.KubeletClientCert, KeyFile: paths.KubeletClientKey,
	}})
	for _, test := range []struct {
		verb, resource, sub string
		want                bool
	}{
		{"get", "nodes", "proxy", true}, {"create", "nodes", "proxy", true}, {"get", "nodes", "log", true}, {"get", "nodes", "stats", true},
		{"get", "nodes", "metrics", true}, {"get", "nodes", "configz", true}, {"get", "nodes", "healthz", true}, {"get", "nodes", "pods", true},
		{"get", "nodes", "", true}, {"update", "nodes", "", false}, {"get", "secrets", "", false}, {"create", "pods", "exec", false},
	} {
		if got := may(ctx, t, client, test.verb, test.resource, test.sub); got != test.want {
			t.Errorf("the API server's client for nodes may %s %s/%s: %v, want %v", test.verb, test.resource, test.sub, got, test.want)
		}
	}
}

func may(ctx context.Context, t *testing.T, client kubernetes.Interface, verb, resource, sub string) bool {
	t.Helper()
	review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Resource: resource, Subresource: sub, Name: "node-1",
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// testAdmin uses the kubeconfig that `minato up` hands out.
func testAdmin(ctx context.Context, t *testing.T, c *cluster) {
	file := t.TempDir() + "/admin.conf"
	data, err := c.PKI().Kubeconfig(c.url, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	if !may(ctx, t, clientFor(t, cfg), "*", "*", "") {
		t.Error("the administrator may not do everything")
	}
}

// testPutBack deletes roles of Minato's parts, as `kubectl delete -f
// deploy/dns.yaml` does.
func testPutBack(ctx context.Context, t *testing.T, c *cluster) {
	rbac, client := c.admin.RbacV1(), c.client(t, access.UserDNS)
	if err := rbac.ClusterRoles().Delete(ctx, access.RoleDNS, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := rbac.Roles("kube-system").Delete(ctx, access.RoleDNS, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := rbac.ClusterRoleBindings().Delete(ctx, access.RoleDNS, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "rights of the DNS", func() bool {
		_, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		_, errMap := client.CoreV1().ConfigMaps("kube-system").Get(ctx, dns.ConfigMapName, metav1.GetOptions{})
		return err == nil && errMap == nil
	})
	role, err := rbac.ClusterRoles().Get(ctx, access.RoleProxy, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = role.Rules[:1]
	if _, err := rbac.ClusterRoles().Update(ctx, role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "rules of the proxy", func() bool {
		role, err := rbac.ClusterRoles().Get(ctx, access.RoleProxy, metav1.GetOptions{})
		return err == nil && len(role.Rules) > 1
	})
}
