package controlplane

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// warnings keeps what the API server says in Warning headers.
type warnings struct {
	mu   sync.Mutex
	said []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

func testUnsupported(ctx context.Context, t *testing.T, r *running) {
	cfg, w := r.adminConfig(t), &warnings{}
	cfg.WarningHandler = w
	client := clientFor(t, cfg)
	for _, level := range []string{"baseline", "restricted"} {
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: level, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		requireServiceAccount(ctx, t, client, level)
	}
	_, err := client.NetworkingV1().NetworkPolicies("baseline").Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("baseline").Create(ctx, userNamespacePod(nil), metav1.CreateOptions{}); err != nil {
		t.Errorf("a baseline Pod with hostUsers: false and nothing else: %v", err)
	}
	for _, want := range []string{`NetworkPolicy "deny" has no effect`, "spec.hostUsers: "} {
		if !slices.ContainsFunc(w.said, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("the API server warned %q, not %q", w.said, want)
		}
	}

	// What Pod Security allows only in a user namespace, which there is not.
	unmasked, root := corev1.UnmaskedProcMount, int64(0)
	refused(ctx, t, client, "baseline", "procMount", userNamespacePod(func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ProcMount: &unmasked}
	}))
	refused(ctx, t, client, "restricted", "runAsUser=0", userNamespacePod(func(p *corev1.Pod) {
		p.Spec.SecurityContext.RunAsUser = &root
	}))
	refused(ctx, t, client, "restricted", "runAsNonRoot", userNamespacePod(nil))
}

func requireServiceAccount(ctx context.Context, t *testing.T, client kubernetes.Interface, namespace string) {
	t.Helper()
	eventually(t, "ServiceAccount "+namespace+"/default", func() bool {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
}

func userNamespacePod(change func(*corev1.Pod)) *corev1.Pod {
	no := false
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "in-user-namespace"},
		Spec: corev1.PodSpec{
			HostUsers:       &no,
			SecurityContext: &corev1.PodSecurityContext{},
			Containers:      []corev1.Container{{Name: "c", Image: "example.com/none"}},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

func refused(ctx context.Context, t *testing.T, client kubernetes.Interface, namespace, because string, pod *corev1.Pod) {
	t.Helper()
	pod.Name = strings.ToLower(because[:9])
	_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), because) {
		t.Errorf("a Pod with hostUsers: false in a %s namespace: %v; want it to be refused because of %s", namespace, err, because)
	}
}
