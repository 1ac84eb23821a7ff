package controlplane

import (
	"context"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// testOldClasses checks that an Ingress in an old version gets the default class,
// and that a class may be written in the old version as well.
func testOldClasses(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	class := &networkingv1beta1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "usual", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1beta1.IngressClassSpec{Controller: "example.com/usual"},
	}
	if _, err := client.NetworkingV1beta1().IngressClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := client.NetworkingV1().IngressClasses().Get(ctx, "usual", metav1.GetOptions{}); err != nil || got.Spec.Controller != "example.com/usual" {
		t.Errorf("in today's version the class is %+v, %v", got, err)
	}
	old := client.ExtensionsV1beta1().Ingresses("old")
	eventually(t, "default class of an Ingress in extensions/v1beta1", func() bool {
		in, err := old.Create(ctx, oldIngress("classless"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Delete(ctx, "classless", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		return in.Spec.IngressClassName != nil && *in.Spec.IngressClassName == "usual"
	})
	annotated := oldIngress("annotated")
	annotated.Annotations = map[string]string{"kubernetes.io/ingress.class": "nginx"}
	in, err := old.Create(ctx, annotated, metav1.CreateOptions{})
	if err != nil || in.Spec.IngressClassName != nil {
		t.Errorf("an Ingress with the annotation has class %v, %v; want none", in.Spec.IngressClassName, err)
	}
	if err := old.Delete(ctx, "annotated", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := client.NetworkingV1beta1().IngressClasses().Delete(ctx, "usual", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// testOldQuota checks that a quota counts an Ingress in whatever version it is
// written.
func testOldQuota(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	quotas := client.CoreV1().ResourceQuotas("old")
	const counted = corev1.ResourceName("count/ingresses.networking.k8s.io")
	_, err := quotas.Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{counted: resource.MustParse("1")},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	used := func(want int64) func() bool {
		return func() bool {
			q, err := quotas.Get(ctx, "one", metav1.GetOptions{})
			if err != nil {
				return false
			}
			n, ok := q.Status.Used[counted]
			return ok && n.Value() == want
		}
	}
	eventually(t, "quota in force", used(0))
	old := client.ExtensionsV1beta1().Ingresses("old")
	if _, err := old.Create(ctx, oldIngress("first"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Ingress counted", used(1))
	if _, err := old.Create(ctx, oldIngress("second"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
		t.Errorf("a second Ingress in extensions/v1beta1: %v; want it to exceed the quota", err)
	}
	if err := old.Delete(ctx, "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Ingress no longer counted", used(0))
	if err := quotas.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// testOldPolicy checks that a policy for today's version sees an object of an old
// one in today's form.
func testOldPolicy(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	api := client.AdmissionregistrationV1()
	_, err := api.ValidatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "backends"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"networking.k8s.io"}, APIVersions: []string{"v1"}, Resources: []string{"ingresses"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.defaultBackend.service.name != 'rest'", Message: "no rest here"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.ValidatingAdmissionPolicyBindings().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "backends"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "backends", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old := client.ExtensionsV1beta1().Ingresses("old")
	eventually(t, "refusal by the policy", func() bool {
		_, err := old.Create(ctx, oldIngress("judged"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "no rest here")
	})
	if err := api.ValidatingAdmissionPolicyBindings().Delete(ctx, "backends", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := api.ValidatingAdmissionPolicies().Delete(ctx, "backends", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	eventually(t, "end of the policy", func() bool {
		_, err := old.Create(ctx, oldIngress("judged"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil
	})
}

// testOldRights checks that the roles for users of a namespace hold for the old
// versions as for today's.
func testOldRights(ctx context.Context, t *testing.T, r *running) {
	root := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	for _, role := range []string{"view", "edit"} {
		_, err := root.RbacV1().RoleBindings("old").Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "old-" + role}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	edit := clientFor(t, r.RESTConfig("old-edit", "system:authenticated"))
	eventually(t, "rights of role edit", func() bool {
		_, err := edit.ExtensionsV1beta1().Ingresses("old").Create(ctx, oldIngress("mine"), metav1.CreateOptions{})
		return err == nil
	})
	view := clientFor(t, r.RESTConfig("old-view", "system:authenticated"))
	eventually(t, "rights of role view", func() bool {
		_, err := view.NetworkingV1beta1().Ingresses("old").Get(ctx, "mine", metav1.GetOptions{})
		return err == nil
	})
	if err := view.ExtensionsV1beta1().Ingresses("old").Delete(ctx, "mine", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a viewer deletes an Ingress in extensions/v1beta1: %v", err)
	}
	if err := edit.ExtensionsV1beta1().Ingresses("old").Delete(ctx, "mine", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// testOldGarbage checks that what an Ingress owns by an old version lives as long
// as the Ingress does.
func testOldGarbage(ctx context.Context, t *testing.T, client *kubernetes.Clientset) {
	in, err := client.NetworkingV1().Ingresses("old").Create(ctx, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "owner"}, Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "a", Port: networkingv1.ServiceBackendPort{Number: 1}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own := func(name, version string, uid types.UID) {
		t.Helper()
		_, err := client.CoreV1().ConfigMaps("old").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: name, OwnerReferences: []metav1.OwnerReference{{APIVersion: version, Kind: "Ingress", Name: "owner", UID: uid}},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	gone := func(name string) func() bool {
		return func() bool {
			_, err := client.CoreV1().ConfigMaps("old").Get(ctx, name, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}
	}
	own("owned", "extensions/v1beta1", in.UID)
	own("orphan", "extensions/v1beta1", "5b6c7d8e-0000-4000-8000-000000000000")
	eventually(t, "collection of what a gone Ingress owned", gone("orphan"))
	if gone("owned")() {
		t.Error("what an Ingress owns by extensions/v1beta1 was collected before the Ingress was deleted")
	}
	if err := client.NetworkingV1().Ingresses("old").Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "collection of what the Ingress owned", gone("owned"))
}
