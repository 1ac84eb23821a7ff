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
	if want := `NetworkPolicy "deny" has no effect`; !slices.ContainsFunc(w.said, func(s string) bool { return strings.HasPrefix(s, want) }) {
		t.Errorf("the API server warned %q, not %q", w.said, want)
	}

	// What Pod Security allows only in a user namespace.
	unmasked, root := corev1.UnmaskedProcMount, int64(0)
	onlyInUserNamespace(ctx, t, client, "baseline", "procMount", func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ProcMount: &unmasked}
	})
	onlyInUserNamespace(ctx, t, client, "restricted", "runAsUser=0", func(p *corev1.Pod) {
		p.Spec.SecurityContext.RunAsUser = &root
	})
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

// onlyInUserNamespace has the API server take a Pod with hostUsers: false, and
// refuse the same Pod without because of something, by itself or by Pod Security.
func onlyInUserNamespace(ctx context.Context, t *testing.T, client kubernetes.Interface, namespace, because string, change func(*corev1.Pod)) {
	t.Helper()
	pod := userNamespacePod(func(p *corev1.Pod) {
		no := false
		p.Name = strings.ToLower(because[:9])
		p.Spec.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
		change(p)
		if namespace == "restricted" {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
		}
	})
	if _, err := client.CoreV1().Pods(namespace).Create(ctx, pod.DeepCopy(), metav1.CreateOptions{}); err != nil {
		t.Errorf("a Pod with hostUsers: false in a %s namespace: %v", namespace, err)
	}
	pod.Name, pod.Spec.HostUsers = pod.Name+"-node", nil
	_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), because) {
		t.Errorf("the same Pod without hostUsers in a %s namespace: %v; want it to be refused because of %s", namespace, err, because)
	}
}
