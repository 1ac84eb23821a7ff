package apiserver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/dynamic/fake"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

// poolOf makes an IPAddressPool.
func poolOf(name string, addresses ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": metallb.Group + "/v1beta1", "kind": metallb.KindIPAddressPool,
		"metadata": map[string]any{"namespace": config.Namespace, "name": name},
		"spec":     map[string]any{"addresses": addresses},
	}}
}

func newTestBalancing(stored ...runtime.Object) *balancing {
	kinds := map[schema.GroupVersionResource]string{}
	for kind, resource := range balancingKinds {
		kinds[resource] = kind + "List"
	}
	return newBalancing(fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, stored...), nil)
}

// requestContext is the context of one request to the API server.
func requestContext(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(genericapirequest.WithRequestInfo(context.Background(), &genericapirequest.RequestInfo{}), time.Minute)
	t.Cleanup(cancel)
	return ctx, cancel
}

func attributes(operation admission.Operation, object, old *unstructured.Unstructured, dryRun bool) admission.Attributes {
	gvk := object.GroupVersionKind()
	var before runtime.Object
	if old != nil {
		before = old
	}
	return admission.NewAttributesRecord(object, before, gvk, object.GetNamespace(), object.GetName(),
		balancingKinds[gvk.Kind], "", operation, nil, dryRun, nil)
}

// TestBalancingWaitsForOthers checks an object while another one, which has
// passed, is neither stored nor refused yet.
func TestBalancingWaitsForOthers(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored=%v", stored), func(t *testing.T) {
			b := newTestBalancing()
			first, second := poolOf("first", "192.0.2.0/24"), poolOf("second", "192.0.2.128/25")
			ctx, end := requestContext(t)
			if err := b.Validate(ctx, attributes(admission.Create, first, nil, false), nil); err != nil {
				t.Fatal(err)
			}
			// Another attempt of the same request isn't in its own way.
			if err := b.Validate(ctx, attributes(admission.Create, first, nil, false), nil); err != nil {
				t.Fatal(err)
			}
			other, _ := requestContext(t)
			result := make(chan error, 1)
			go func() { result <- b.Validate(other, attributes(admission.Create, second, nil, false), nil) }()
			// What concerns other addresses needn't wait.
			third, _ := requestContext(t)
			if err := b.Validate(third, attributes(admission.Create, poolOf("third", "198.51.100.0/24"), nil, false), nil); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-result:
				t.Fatalf("the second of two rivals got %v while nobody knew about the first", err)
			default:
			}
			if stored {
				if _, err := b.objects.Resource(balancingKinds[metallb.KindIPAddressPool]).Namespace(config.Namespace).Create(ctx, first, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			end()
			err := <-result
			if stored && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "first")) || !stored && err != nil {
				t.Errorf("the second of two rivals got %v", err)
			}
		})
	}
}

// TestBalancingGivesUp ends a request that waits for another one.
func TestBalancingGivesUp(t *testing.T) {
	b := newTestBalancing()
	ctx, _ := requestContext(t)
	if err := b.Validate(ctx, attributes(admission.Create, poolOf("first", "192.0.2.0/24"), nil, false), nil); err != nil {
		t.Fatal(err)
	}
	other, cancel := requestContext(t)
	result := make(chan error, 1)
	go func() {
		result <- b.Validate(other, attributes(admission.Create, poolOf("second", "192.0.2.0/24"), nil, false), nil)
	}()
	cancel()
	if err := <-result; err == nil {
		t.Error("a request that has ended was let through")
	}
}

func TestBalancingLeavesAlone(t *testing.T) {
	bad := poolOf("bad", "192.0.2.9-192.0.2.1")
	labelled := bad.DeepCopy()
	labelled.SetLabels(map[string]string{"a": "b"})
	going := poolOf("bad", "nonsense")
	now := metav1.Now()
	going.SetDeletionTimestamp(&now)
	state := poolOf("state")
	state.SetKind(metallb.KindConfigurationState)
	b := newTestBalancing()
	ctx, _ := requestContext(t)
	for what, a := range map[string]admission.Attributes{
		"other labels":                 attributes(admission.Update, labelled, bad, false),
		"an object that goes":          attributes(admission.Update, going, bad, false),
		"a kind that is no setting":    attributes(admission.Create, state, nil, false),
		"the deletion of a bad object": attributes(admission.Delete, bad, bad, false),
	} {
		if err := b.Validate(ctx, a, nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := b.Validate(ctx, attributes(admission.Update, bad, poolOf("bad", "192.0.2.0/24"), false), nil); !apierrors.IsInvalid(err) {
		t.Errorf("a change of addresses into bad ones: %v", err)
	}
	if err := b.Validate(ctx, attributes(admission.Create, poolOf("dry", "192.0.2.0/24"), nil, true), nil); err != nil {
		t.Error(err)
	}
	if len(b.admitted.entries) != 0 {
		t.Error("a dry run is taken for a request that stores something")
	}
}

func TestRelaxWebhooks(t *testing.T) {
	fail, long, short := admissionregistrationv1.Fail, int32(10), int32(1)
	rules := func(groups ...string) []admissionregistrationv1.RuleWithOperations {
		return []admissionregistrationv1.RuleWithOperations{{Rule: admissionregistrationv1.Rule{APIGroups: groups}}}
	}
	service := admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Name: "webhook-service"}}
	hook := func(name string, rules []admissionregistrationv1.RuleWithOperations, timeout *int32) admissionregistrationv1.ValidatingWebhook {
		return admissionregistrationv1.ValidatingWebhook{Name: name, Rules: rules, ClientConfig: service, FailurePolicy: &fail, TimeoutSeconds: timeout}
	}
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{Webhooks: []admissionregistrationv1.ValidatingWebhook{
		hook("ipaddresspoolvalidationwebhook.metallb.io", rules("metallb.io"), &long),
		hook("bgppeersvalidationwebhook.metallb.io", rules("metallb.io"), &short),
		hook("communityvalidationwebhook.metallb.io", rules("metallb.io"), nil),
		hook("pools.example.org", rules("metallb.io"), &long),
		hook("ipaddresspoolvalidationwebhook.metallb.io", rules("metallb.io", "apps"), &long),
		hook("ipaddresspoolvalidationwebhook.metallb.io", append(rules("metallb.io"), rules("*")...), &long),
		hook("ipaddresspoolvalidationwebhook.metallb.io", nil, &long),
	}}
	if _, err := forServer(c); err != nil {
		t.Fatal(err)
	}
	for i, w := range c.Webhooks {
		relaxed := i < 3
		if got := *w.FailurePolicy == admissionregistrationv1.Ignore; got != relaxed {
			t.Errorf("webhook %d (%s) fails open: %v, want %v", i, w.Name, got, relaxed)
		}
		if relaxed && *w.TimeoutSeconds > webhookPatience {
			t.Errorf("webhook %d (%s) may take %d s", i, w.Name, *w.TimeoutSeconds)
		}
	}
	if *c.Webhooks[1].TimeoutSeconds != 1 || fail != admissionregistrationv1.Fail {
		t.Error("a shorter time, or somebody else's value, was changed")
	}
}

func TestWritten(t *testing.T) {
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	const spec, metadata = `{"f:spec":{"f:group":{}}}`, `{"f:metadata":{"f:labels":{}}}`
	own := entry(definitionManager, "", spec)
	for _, test := range []struct {
		what       string
		annotation string
		fields     []metav1.ManagedFieldsEntry
		want       bool
	}{
		{"ours", "hash", []metav1.ManagedFieldsEntry{own, entry("minato-server", "status", `{"f:status":{}}`)}, true},
		{"ours with somebody's label", "hash", []metav1.ManagedFieldsEntry{own, entry("kubectl-label", "", metadata)}, true},
		{"somebody's, applied over ours", "hash", []metav1.ManagedFieldsEntry{own, entry("kubectl-client-side-apply", "", spec)}, false},
		{"somebody's", "", []metav1.ManagedFieldsEntry{entry("kubectl-create", "", spec)}, false},
		{"somebody's without a manager", "", nil, false},
		{"fields that nobody can read", "hash", []metav1.ManagedFieldsEntry{own, entry("other", "", `[`)}, false},
	} {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		crd.ManagedFields = test.fields
		if test.annotation != "" {
			crd.Annotations = map[string]string{definitionAnnotation: test.annotation}
		}
		if got := written(crd); got != test.want {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

func TestAddSubjects(t *testing.T) {
	want := partsFlowSchema()
	old := partsFlowSchema()
	old.Spec.Rules[0].Subjects = old.Spec.Rules[0].Subjects[:2]
	own := flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "somebody"}}
	old.Spec.Rules[0].Subjects = append(old.Spec.Rules[0].Subjects, own)
	kept := old.DeepCopy()
	kept.Annotations = map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "false"}
	if addSubjects(kept, want) {
		t.Error("a FlowSchema that is to stay as it is was changed")
	}
	if !addSubjects(old, want) || len(old.Spec.Rules[0].Subjects) != len(want.Spec.Rules[0].Subjects)+1 {
		t.Errorf("an old FlowSchema has now the subjects %v", old.Spec.Rules[0].Subjects)
	}
	if addSubjects(old, want) {
		t.Error("a FlowSchema that is up to date was changed")
	}
}
