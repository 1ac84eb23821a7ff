package controlplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
)

func testCustomResources(ctx context.Context, t *testing.T, r *running) {
	cfg := r.RESTConfig("test-root", "system:masters")
	crds, err := apiextensions.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	keep := true
	_, err = crds.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "ships.example.org"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.org",
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "ships", Singular: "ship", Kind: "Ship", ListKind: "ShipList"},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &keep,
				}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ships := dyn.Resource(schema.GroupVersionResource{Group: "example.org", Version: "v1", Resource: "ships"}).Namespace("default")
	ship := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.org/v1", "kind": "Ship",
		"metadata": map[string]any{"name": "one"}, "spec": map[string]any{"mast": int64(3)},
	}}
	eventually(t, "custom resource created", func() bool {
		_, err := ships.Create(ctx, ship, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err)
	})
	got, err := ships.Get(ctx, "one", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if mast, _, _ := unstructured.NestedInt64(got.Object, "spec", "mast"); mast != 3 {
		t.Errorf("the custom resource came back as %v", got.Object)
	}
	client := clientFor(t, r.adminConfig(t))
	eventually(t, "OpenAPI v3 of the custom resource", func() bool {
		paths, err := client.Discovery().OpenAPIV3().Paths()
		return err == nil && paths["apis/example.org/v1"] != nil
	})
}

func testNodes(ctx context.Context, t *testing.T, r *running) {
	root := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	// A node's certificate, over the network.
	kubeconfig, err := r.PKI().NodeClient("node-1")
	if err != nil {
		t.Fatal(err)
	}
	node := clientFor(t, &rest.Config{Host: r.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: r.PKI().CABundle(), CertData: kubeconfig.Cert, KeyData: kubeconfig.Key,
	}})
	if _, err := r.PKI().NodeServing("node-1", netip.MustParseAddr("172.30.0.11")); err != nil {
		t.Fatal(err)
	}
	if _, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatalf("a node can't register itself: %v", err)
	}
	if _, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-2"}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a node registered another one: %v", err)
	}
	eventually(t, "lease of the node", func() bool {
		_, err := node.CoordinationV1().Leases("kube-node-lease").Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{})
		return err == nil
	})
	if _, err := root.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "treasure"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := node.CoreV1().Secrets("default").Get(ctx, "treasure", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a node read a Secret none of its Pods uses: %v", err)
	}

	eventually(t, "Pod range of the node", func() bool {
		n, err := root.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
		return err == nil && strings.HasPrefix(n.Spec.PodCIDR, "10.244.") && strings.HasSuffix(n.Spec.PodCIDR, "/24")
	})
	eventually(t, "status of the node", func() bool {
		n, err := node.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
		if err != nil {
			return false
		}
		now := metav1.Now()
		n.Status.Capacity = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("2Gi"), corev1.ResourcePods: resource.MustParse("110"),
		}
		n.Status.Allocatable = n.Status.Capacity
		n.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Test", LastHeartbeatTime: now, LastTransitionTime: now,
		}}
		_, err = node.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
		return err == nil
	})
}

func testWorkloads(ctx context.Context, t *testing.T, r *running) {
	client := clientFor(t, r.adminConfig(t))
	replicas := int32(2)
	labels := map[string]string{"app": "web"}
	_, err := client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.org/web", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "two scheduled Pods", func() bool {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || len(pods.Items) != 2 {
			return false
		}
		for _, p := range pods.Items {
			if p.Spec.NodeName != "node-1" {
				return false
			}
		}
		return true
	})
	eventually(t, "event of the scheduler", func() bool {
		events, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=Scheduled"})
		return err == nil && len(events.Items) > 0
	})
	_, err = client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	svc, err := client.CoreV1().Services("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(svc.Spec.ClusterIP, "10.96.") || svc.Spec.Ports[0].NodePort < 30000 || svc.Spec.Ports[0].NodePort > 32767 {
		t.Errorf("the Service got address %s and node port %d", svc.Spec.ClusterIP, svc.Spec.Ports[0].NodePort)
	}
	eventually(t, "EndpointSlice", func() bool {
		slices, err := client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		return err == nil && len(slices.Items) == 1
	})
	// The garbage collector follows owner references.
	if err := client.AppsV1().Deployments("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ReplicaSet collected", func() bool {
		sets, err := client.AppsV1().ReplicaSets("default").List(ctx, metav1.ListOptions{})
		return err == nil && len(sets.Items) == 0
	})
}

func testWebhook(ctx context.Context, t *testing.T, r *running) {
	var calls atomic.Int32
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review admissionv1.AdmissionReview
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = json.Unmarshal(body, &review)
		}
		if err != nil || review.Request == nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		calls.Add(1)
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: review.Request.Name != "bad",
			Result: &metav1.Status{Message: "the harbour master says no"},
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	defer hook.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})

	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	_, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "harbour"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "harbour.example.org",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &hook.URL, CABundle: ca},
			SideEffects:             &none,
			FailurePolicy:           &fail,
			AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "name", Expression: "object.metadata.name == 'bad'"}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "refusal by the webhook", func() bool {
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}, metav1.CreateOptions{})
		if err == nil { // the API server hadn't seen the configuration yet
			_ = client.CoreV1().ConfigMaps("default").Delete(ctx, "bad", metav1.DeleteOptions{})
			return false
		}
		return strings.Contains(err.Error(), "the harbour master says no")
	})
	if calls.Load() == 0 {
		t.Error("the webhook was never called")
	}
	if err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, "harbour", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// testPolicy creates a policy when there was none before: the plugin that was
// left out so far must take part, and the controller that wasn't running must
// write the policy's status.
func testPolicy(ctx context.Context, t *testing.T, r *running) {
	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	api := client.AdmissionregistrationV1()
	_, err := api.ValidatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "draught"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.metadata.name != 'deep'", Message: "too deep for this harbour"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.ValidatingAdmissionPolicyBindings().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "draught"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "draught", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "refusal by the policy", func() bool {
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "deep"}}, metav1.CreateOptions{})
		if err == nil { // the policy isn't compiled yet
			_ = client.CoreV1().ConfigMaps("default").Delete(ctx, "deep", metav1.DeleteOptions{})
			return false
		}
		return strings.Contains(err.Error(), "too deep for this harbour")
	})
	eventually(t, "status of the policy", func() bool {
		p, err := api.ValidatingAdmissionPolicies().Get(ctx, "draught", metav1.GetOptions{})
		return err == nil && p.Status.ObservedGeneration > 0 && p.Status.TypeChecking != nil
	})
	if err := api.ValidatingAdmissionPolicyBindings().Delete(ctx, "draught", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func testCertificateSigning(ctx context.Context, t *testing.T, r *running) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "captain"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	requests := clientFor(t, r.adminConfig(t)).CertificatesV1().CertificateSigningRequests()
	csr, err := requests.Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "captain"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test", Message: "test",
	}}
	if _, err := requests.UpdateApproval(ctx, "captain", csr, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var cert []byte
	eventually(t, "certificate", func() bool {
		got, err := requests.Get(ctx, "captain", metav1.GetOptions{})
		if err != nil {
			return false
		}
		cert = got.Status.Certificate
		return len(cert) > 0
	})
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	user := whoami(ctx, t, &rest.Config{Host: r.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: r.PKI().CABundle(), CertData: cert, KeyData: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}})
	if user != "captain" {
		t.Errorf("the signed certificate belongs to %q", user)
	}
}

// testAggregation checks that the built-in APIs are Available, and that an API
// whose Service has no endpoints is not.
func testAggregation(ctx context.Context, t *testing.T, r *running) {
	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	agg, err := aggregator.NewForConfig(r.RESTConfig("test-root", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := agg.ApiregistrationV1().APIServices().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Every group version that is served needs an entry in the list of priorities.
	registered := map[string]bool{}
	for _, s := range list.Items {
		registered[s.Spec.Group+"/"+s.Spec.Version] = true
	}
	groups, err := client.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			// The aggregator doesn't register itself.
			if g.Name != apiregistrationv1.GroupName && !registered[g.Name+"/"+v.Version] {
				t.Errorf("group version %s has no APIService", v.GroupVersion)
			}
		}
	}
	for _, s := range list.Items {
		for _, c := range s.Status.Conditions {
			if c.Type == apiregistrationv1.Available && c.Status != apiregistrationv1.ConditionTrue {
				t.Errorf("APIService %s is not available: %s", s.Name, c.Message)
			}
		}
	}
	if _, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "absent"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = agg.ApiregistrationV1().APIServices().Create(ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.absent.example.org"},
		Spec: apiregistrationv1.APIServiceSpec{
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "absent"},
			Group:   "absent.example.org", Version: "v1", InsecureSkipTLSVerify: true,
			GroupPriorityMinimum: 100, VersionPriority: 100,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "verdict on an API without a server", func() bool {
		s, err := agg.ApiregistrationV1().APIServices().Get(ctx, "v1.absent.example.org", metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, c := range s.Status.Conditions {
			if c.Type == apiregistrationv1.Available {
				return c.Status == apiregistrationv1.ConditionFalse
			}
		}
		return false
	})
	if err := agg.ApiregistrationV1().APIServices().Delete(ctx, "v1.absent.example.org", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}
