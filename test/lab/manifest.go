package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"minato/test/stock"
)

// Account is the ServiceAccount of a manifest, and a kubeconfig with its rights alone.
type Account struct{ Name, Token, Kubeconfig string }

// Apply creates every object of a manifest of a DaemonSet, whereby the API server checks it.
func Apply(t *testing.T, c *stock.Cluster, manifest string) (*appsv1.DaemonSet, Account) {
	t.Helper()
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var owner *corev1.ServiceAccount
	var daemons *appsv1.DaemonSet
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(doc, nil, nil)
		if err == nil {
			o, err = create(t.Context(), c.Client(), o)
		}
		if err != nil {
			t.Fatalf("%s: %v", manifest, err)
		}
		switch o := o.(type) {
		case *corev1.ServiceAccount:
			owner = o
		case *appsv1.DaemonSet:
			daemons = o
		}
	}
	if owner == nil || daemons == nil {
		t.Fatalf("%s has no DaemonSet or no ServiceAccount", manifest)
	}
	return daemons, accountOf(t, c, owner)
}

// create creates an object, and fails for a field that it does not have.
func create(ctx context.Context, client kubernetes.Interface, o runtime.Object) (runtime.Object, error) {
	strict := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	switch o := o.(type) {
	case *corev1.Namespace:
		return client.CoreV1().Namespaces().Create(ctx, o, strict)
	case *corev1.ServiceAccount:
		return client.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, strict)
	case *rbacv1.ClusterRole:
		return client.RbacV1().ClusterRoles().Create(ctx, o, strict)
	case *rbacv1.ClusterRoleBinding:
		return client.RbacV1().ClusterRoleBindings().Create(ctx, o, strict)
	case *rbacv1.Role:
		return client.RbacV1().Roles(o.Namespace).Create(ctx, o, strict)
	case *rbacv1.RoleBinding:
		return client.RbacV1().RoleBindings(o.Namespace).Create(ctx, o, strict)
	case *corev1.Service:
		return client.CoreV1().Services(o.Namespace).Create(ctx, o, strict)
	case *networkingv1.IngressClass:
		return client.NetworkingV1().IngressClasses().Create(ctx, o, strict)
	case *appsv1.DaemonSet:
		return client.AppsV1().DaemonSets(o.Namespace).Create(ctx, o, strict)
	}
	return nil, fmt.Errorf("%T is not expected", o)
}

func accountOf(t *testing.T, c *stock.Cluster, owner *corev1.ServiceAccount) Account {
	t.Helper()
	token, err := c.Client().CoreV1().ServiceAccounts(owner.Namespace).CreateToken(t.Context(), owner.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: "https://" + c.Address(), CertificateAuthorityData: c.CABundle()}
	cfg.AuthInfos["c"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	cfg.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "c"}
	cfg.CurrentContext = "c"
	path := filepath.Join(t.TempDir(), owner.Name+".conf")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return Account{Name: owner.Name, Token: token.Status.Token, Kubeconfig: path}
}
