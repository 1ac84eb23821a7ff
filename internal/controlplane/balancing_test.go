package controlplane

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

const definitionAnnotation = "minato.local/definition"

// balancing is an administrator of load balancing.
type balancing struct {
	*running
	dynamic dynamic.Interface
	crds    apiextensions.CustomResourceDefinitionInterface
}

func testLoadBalancing(ctx context.Context, t *testing.T, r *running) {
	cfg := r.adminConfig(t)
	cfg.QPS = -1
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	crds, err := apiextensions.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &balancing{r, dyn, crds.CustomResourceDefinitions()}
	t.Run("kinds", func(t *testing.T) { b.testKinds(ctx, t) })
	t.Run("admission", func(t *testing.T) { b.testAdmission(ctx, t) })
	t.Run("deletion", func(t *testing.T) { b.testDeletion(ctx, t) })
	t.Run("at once", func(t *testing.T) { b.testAtOnce(ctx, t) })
	t.Run("manifests of MetalLB", func(t *testing.T) { b.testManifests(ctx, t) })
	t.Run("put back", func(t *testing.T) { b.testPutBack(ctx, t) })
}

// testKinds finds everything that configurations need, a moment after the start.
func (b *balancing) testKinds(ctx context.Context, t *testing.T) {
	select {
	case <-b.Defined():
	case <-time.After(deadline):
		t.Fatal("MetalLB's kinds are not served")
	}
	all, err := metallb.CustomResourceDefinitions()
	if err != nil || len(all) != 9 {
		t.Fatalf("there are %d definitions, %v", len(all), err)
	}
	for _, want := range all {
		crd, err := b.crds.Get(ctx, want.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !established(crd) || crd.Annotations[definitionAnnotation] == "" {
			t.Errorf("CustomResourceDefinition %s: %+v", want.Name, crd.Status.Conditions)
		}
	}
	if _, err := clientFor(t, b.adminConfig(t)).CoreV1().Namespaces().Get(ctx, config.Namespace, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// object makes an object of a kind from its spec in YAML.
func object(t *testing.T, kind, namespace, name, spec string) *unstructured.Unstructured {
	t.Helper()
	version := "v1beta1"
	if kind == metallb.KindBGPPeer {
		version = "v1beta2"
	}
	content := map[string]any{}
	if err := yaml.Unmarshal([]byte("spec: "+spec), &content); err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: content}
	o.SetAPIVersion(metallb.Group + "/" + version)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func (b *balancing) of(o *unstructured.Unstructured) dynamic.ResourceInterface {
	plural := map[string]string{metallb.KindCommunity: "communities"}[o.GetKind()]
	if plural == "" {
		plural = strings.ToLower(o.GetKind()) + "s"
	}
	resource := schema.GroupVersionResource{Group: metallb.Group, Version: o.GroupVersionKind().Version, Resource: plural}
	return b.dynamic.Resource(resource).Namespace(o.GetNamespace())
}

func (b *balancing) create(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return b.of(o).Create(ctx, o, metav1.CreateOptions{})
}

func (b *balancing) mustCreate(ctx context.Context, t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	created, err := b.create(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// wantInvalid checks that a request was refused because of a field.
func wantInvalid(t *testing.T, what, field string, err error) {
	t.Helper()
	status, ok := err.(apierrors.APIStatus) //nolint:errorlint // as the client returns it
	if !ok || !apierrors.IsInvalid(err) {
		t.Errorf("%s: %v; want it to be invalid", what, err)
		return
	}
	for _, c := range status.Status().Details.Causes {
		if c.Field == field {
			return
		}
	}
	t.Errorf("%s: %v; want an error of %s", what, err, field)
}

func (b *balancing) testAdmission(ctx context.Context, t *testing.T) {
	const ns = config.Namespace
	pool := b.mustCreate(ctx, t, object(t, metallb.KindIPAddressPool, ns, "harbour", `{addresses: [192.0.2.0/28, 2001:db8::1-2001:db8::ff]}`))
	for _, test := range []struct {
		what, field string
		object      *unstructured.Unstructured
	}{
		{"an inverted range", "spec.addresses[0]", object(t, metallb.KindIPAddressPool, ns, "bad", `{addresses: [198.51.100.9-198.51.100.1]}`)},
		{"a range of two families", "spec.addresses[0]", object(t, metallb.KindIPAddressPool, ns, "bad", `{addresses: ["198.51.100.9-2001:db8:1::"]}`)},
		{"no address", "spec.addresses[1]", object(t, metallb.KindIPAddressPool, ns, "bad", `{addresses: [198.51.100.0/24, harbour]}`)},
		{"an overlap with another pool", "spec.addresses[1]", object(t, metallb.KindIPAddressPool, ns, "bad", `{addresses: [198.51.100.0/24, 192.0.2.15-192.0.2.20]}`)},
		{"another namespace", "metadata.namespace", object(t, metallb.KindIPAddressPool, "default", "bad", `{addresses: [198.51.100.0/24]}`)},
		{"a peer that is no address", "spec.peerAddress", object(t, metallb.KindBGPPeer, ns, "bad", `{myASN: 64500, peerASN: 64501, peerAddress: quay}`)},
		{"a community that is no number", "spec.communities[0].value", object(t, metallb.KindCommunity, ns, "bad", `{communities: [{name: a, value: "1:x"}]}`)},
	} {
		_, err := b.create(ctx, test.object)
		wantInvalid(t, test.what, test.field, err)
	}
	// It is told in the status later that there is no such profile.
	b.mustCreate(ctx, t, object(t, metallb.KindBGPPeer, ns, "early", `{myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.100, bfdProfile: later}`))

	// A dry run leaves nothing behind.
	dry := object(t, metallb.KindIPAddressPool, ns, "dry", `{addresses: [203.0.113.0/24]}`)
	if _, err := b.of(dry).Create(ctx, dry, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Error(err)
	}
	b.mustCreate(ctx, t, object(t, metallb.KindIPAddressPool, ns, "quay", `{addresses: [203.0.113.0/28]}`))

	// Changes are checked like new objects, but for an object's own addresses.
	set := func(addresses string) error {
		patch := []byte(`{"spec":{"addresses":[` + addresses + `]}}`)
		_, err := b.of(pool).Patch(ctx, "harbour", types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	wantInvalid(t, "a change into an overlap", "spec.addresses[0]", set(`"203.0.113.1-203.0.113.2"`))
	if err := set(`"192.0.2.0/27"`); err != nil {
		t.Errorf("a change into more addresses: %v", err)
	}
	for _, sub := range []string{"", "status"} {
		patch := []byte(`{"metadata":{"labels":{"a":"b"}},"status":{"assignedIPv4":1}}`)
		if sub == "" {
			patch = []byte(`{"metadata":{"labels":{"c":"d"}}}`)
		}
		subresources := strings.Fields(sub)
		if _, err := b.of(pool).Patch(ctx, "harbour", types.MergePatchType, patch, metav1.PatchOptions{}, subresources...); err != nil {
			t.Errorf("change of labels and status (%q): %v", sub, err)
		}
	}
}

func (b *balancing) testDeletion(ctx context.Context, t *testing.T) {
	const ns = config.Namespace
	profile := b.mustCreate(ctx, t, object(t, metallb.KindBFDProfile, ns, "watchful", `{receiveInterval: 100}`))
	peer := b.mustCreate(ctx, t, object(t, metallb.KindBGPPeer, ns, "user", `{myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.101, bfdProfile: watchful}`))
	if err := b.of(profile).Delete(ctx, "watchful", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "BGPPeer user") {
		t.Errorf("deleting a BFDProfile that is used: %v", err)
	}
	err := b.of(profile).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("deleting all BFDProfiles while one is used: %v", err)
	}
	if err := b.of(peer).Delete(ctx, "user", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.of(profile).Delete(ctx, "watchful", metav1.DeleteOptions{}); err != nil {
		t.Errorf("deleting a BFDProfile that nobody uses: %v", err)
	}
}

// testAtOnce creates pools with a common address at the same time.
func (b *balancing) testAtOnce(ctx context.Context, t *testing.T) {
	for round := range 5 {
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			created []*unstructured.Unstructured
		)
		for i := range 8 {
			o := object(t, metallb.KindIPAddressPool, config.Namespace, fmt.Sprintf("rival-%d-%d", round, i), fmt.Sprintf("{addresses: [198.51.100.%d-198.51.100.100]}", i))
			wg.Go(func() {
				_, err := b.create(ctx, o)
				switch {
				case err == nil:
					mu.Lock()
					defer mu.Unlock()
					created = append(created, o)
				case !apierrors.IsInvalid(err):
					t.Errorf("creating one of several pools: %v", err)
				}
			})
		}
		wg.Wait()
		if len(created) != 1 {
			t.Errorf("%d pools with a common address were created, want 1", len(created))
		}
		for _, o := range created {
			if err := b.of(o).Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
}

// testManifests does what applying MetalLB's own manifests does where its
// controller, which serves its webhooks, never runs.
func (b *balancing) testManifests(ctx context.Context, t *testing.T) {
	peers, err := b.crds.Get(ctx, "bgppeers.metallb.io", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := "/convert"
	peers.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ConversionReviewVersions: []string{"v1beta1", "v1beta2"},
			ClientConfig: &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{
				Namespace: config.Namespace, Name: "metallb-webhook-service", Path: &path,
			}},
		},
	}
	if _, err := b.crds.Update(ctx, peers, metav1.UpdateOptions{FieldManager: "kubectl-client-side-apply"}); err != nil {
		t.Fatal(err)
	}
	b.createWebhooks(ctx, t, "metallb-webhook-configuration", "ipaddresspoolvalidationwebhook.metallb.io", "bgppeersvalidationwebhook.metallb.io")
	b.createWebhooks(ctx, t, "names", "names.example.org")
	// The API server asks the other one as soon as it knows of both.
	third := object(t, metallb.KindIPAddressPool, config.Namespace, "third", `{addresses: [198.51.100.128/25]}`)
	eventually(t, "refusal by a webhook that nobody serves", func() bool {
		_, err := b.of(third).Create(ctx, third, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "names.example.org") && !strings.Contains(err.Error(), "validationwebhook")
	})
	api := clientFor(t, b.adminConfig(t)).AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if err := api.Delete(ctx, "names", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pool in spite of MetalLB's webhooks", func() bool {
		_, err := b.create(ctx, third)
		return err == nil
	})
	b.mustCreate(ctx, t, object(t, metallb.KindBGPPeer, config.Namespace, "late", `{myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.102}`))
	list, err := b.of(object(t, metallb.KindBGPPeer, config.Namespace, "", "{}")).List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 {
		t.Errorf("%d BGPPeers, %v; want 2", len(list.Items), err)
	}
	_, err = b.create(ctx, object(t, metallb.KindIPAddressPool, config.Namespace, "bad", `{addresses: [198.51.100.200/32]}`))
	wantInvalid(t, "an overlap in spite of MetalLB's webhooks", "spec.addresses[0]", err)
	kept, err := api.Get(ctx, "metallb-webhook-configuration", metav1.GetOptions{})
	if err != nil || *kept.Webhooks[0].FailurePolicy != admissionregistrationv1.Fail || *kept.Webhooks[0].TimeoutSeconds != 10 {
		t.Errorf("MetalLB's configuration was changed: %+v, %v", kept.Webhooks, err)
	}
	if err := api.Delete(ctx, "metallb-webhook-configuration", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createWebhooks has webhooks asked that no one serves, and whose answer is
// needed.
func (b *balancing) createWebhooks(ctx context.Context, t *testing.T, name string, hooks ...string) {
	t.Helper()
	none, fail, path := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail, "/validate"
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, hook := range hooks {
		c.Webhooks = append(c.Webhooks, admissionregistrationv1.ValidatingWebhook{
			Name: hook, SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{
				Namespace: config.Namespace, Name: "metallb-webhook-service", Path: &path,
			}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{metallb.Group}, APIVersions: []string{"*"}, Resources: []string{"ipaddresspools", "bgppeers"}},
			}},
		})
	}
	if _, err := clientFor(t, b.adminConfig(t)).AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// testPutBack deletes what MetalLB's manifests have in common with a cluster.
func (b *balancing) testPutBack(ctx context.Context, t *testing.T) {
	client := clientFor(t, b.adminConfig(t))
	gone := map[string]types.UID{}
	for _, name := range []string{"bfdprofiles.metallb.io", "bgppeers.metallb.io", "ipaddresspools.metallb.io"} {
		crd, err := b.crds.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		gone[name] = crd.UID
		if err := b.crds.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, uid := range gone {
		eventually(t, "definition "+name, func() bool {
			crd, err := b.crds.Get(ctx, name, metav1.GetOptions{})
			return err == nil && crd.UID != uid && established(crd) && crd.Annotations[definitionAnnotation] != "" &&
				crd.Spec.Conversion.Strategy == apiextensionsv1.NoneConverter
		})
	}
	namespace, err := client.CoreV1().Namespaces().Get(ctx, config.Namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, config.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	node := clientFor(t, b.RESTConfig(access.UserLoadBalancerNode))
	eventually(t, "namespace and the rights in it", func() bool {
		now, err := client.CoreV1().Namespaces().Get(ctx, config.Namespace, metav1.GetOptions{})
		if err != nil || now.UID == namespace.UID {
			return false
		}
		_, err = node.CoreV1().Secrets(config.Namespace).Get(ctx, "none", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// prepareDefinitions makes definitions that the next start must treat
// differently, and leaves the namespace of MetalLB's objects half deleted.
func prepareDefinitions(ctx context.Context, t *testing.T, r *running) {
	client := clientFor(t, r.adminConfig(t))
	_, err := client.CoreV1().ConfigMaps(config.Namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "anchor", Finalizers: []string{"example.org/chain"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, config.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the roles in the namespace", func() bool {
		list, err := client.RbacV1().Roles(config.Namespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0
	})
	crds, err := apiextensions.NewForConfig(r.adminConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, patch := range map[string]string{
		// Somebody else has another opinion of one, and leaves its annotations alone.
		"communities.metallb.io": `{"metadata":{"annotations":{"minato.local/definition":"old"}},"spec":{"names":{"shortNames":["nc"]}}}`,
		// One is from another version, and somebody has labelled it.
		"bfdprofiles.metallb.io": `{"metadata":{"annotations":{"minato.local/definition":"old"},"labels":{"a":"b"}}}`,
	} {
		if _, err := crds.CustomResourceDefinitions().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-patch"}); err != nil {
			t.Fatal(err)
		}
	}
}

func checkDefinitions(ctx context.Context, t *testing.T, r *running) {
	select {
	case <-r.Defined():
	case <-time.After(deadline):
		t.Fatal("MetalLB's kinds are not served")
	}
	crds, err := apiextensions.NewForConfig(r.adminConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	crd, err := crds.CustomResourceDefinitions().Get(ctx, "communities.metallb.io", metav1.GetOptions{})
	if err != nil || len(crd.Spec.Names.ShortNames) != 1 || crd.Spec.Names.ShortNames[0] != "nc" || crd.Annotations[definitionAnnotation] != "old" {
		t.Errorf("somebody's definition was changed: %+v, %v", crd.ObjectMeta, err)
	}
	eventually(t, "update of the definition of another version", func() bool {
		crd, err := crds.CustomResourceDefinitions().Get(ctx, "bfdprofiles.metallb.io", metav1.GetOptions{})
		return err == nil && crd.Annotations[definitionAnnotation] != "old" && crd.Labels["a"] == "b"
	})
}

// checkHalfDeleted has the namespace of MetalLB's objects go in the end, and
// come back.
func checkHalfDeleted(ctx context.Context, t *testing.T, r *running) {
	client := clientFor(t, r.adminConfig(t))
	begin := time.Now()
	if _, err := clientFor(t, r.RESTConfig(access.UserLoadBalancerNode)).CoreV1().Services("").List(ctx, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("a part waited %v for rights in a namespace that is being deleted", took)
	}
	if ns, err := client.CoreV1().Namespaces().Get(ctx, config.Namespace, metav1.GetOptions{}); err != nil || ns.DeletionTimestamp == nil {
		t.Errorf("the namespace is not half deleted: %v", err)
	}
	_, err := client.CoreV1().ConfigMaps(config.Namespace).Patch(ctx, "anchor", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "namespace and the roles in it", func() bool {
		_, err := client.RbacV1().Roles(config.Namespace).Get(ctx, access.RoleLoadBalancerNode, metav1.GetOptions{})
		return err == nil
	})
}
