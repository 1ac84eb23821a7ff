package proxy

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"minato/test/stock"
)

const manifest = "../../deploy/proxy.yaml"

// account is the ServiceAccount of the manifest, and kubeconfig one with its rights alone.
type account struct{ name, token, kubeconfig string }

// applyManifest creates every object of deploy/proxy.yaml, whereby the API server checks it.
func applyManifest(t *testing.T, c *stock.Cluster, dir string) (*appsv1.DaemonSet, account) {
	t.Helper()
	ctx, client := t.Context(), c.Client()
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var owner *corev1.ServiceAccount
	var daemons *appsv1.DaemonSet
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(doc, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", manifest, err)
		}
		switch o := o.(type) {
		case *corev1.ServiceAccount:
			owner, err = client.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.ClusterRole:
			_, err = client.RbacV1().ClusterRoles().Create(ctx, o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		case *rbacv1.ClusterRoleBinding:
			_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		case *appsv1.DaemonSet:
			daemons, err = client.AppsV1().DaemonSets(o.Namespace).Create(ctx, o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		default:
			err = fmt.Errorf("%T is not expected", o)
		}
		if err != nil {
			t.Fatalf("%s: %v", manifest, err)
		}
	}
	if owner == nil || daemons == nil {
		t.Fatalf("%s has no DaemonSet or no ServiceAccount", manifest)
	}
	token, err := client.CoreV1().ServiceAccounts(owner.Namespace).CreateToken(ctx, owner.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: "https://" + c.Address(), CertificateAuthorityData: c.CABundle()}
	cfg.AuthInfos["c"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	cfg.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "c"}
	cfg.CurrentContext = "c"
	path := filepath.Join(dir, "proxy.conf")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return daemons, account{name: owner.Name, token: token.Status.Token, kubeconfig: path}
}

// objects makes Services and their EndpointSlices by hand.
type objects struct {
	t      *testing.T
	client kubernetes.Interface
}

// service makes a Service of both families with the ports tcp and udp, both 80, after edit had its say.
func (o objects) service(name string, edit func(*corev1.Service)) *corev1.Service {
	o.t.Helper()
	policy := corev1.IPFamilyPolicyRequireDualStack
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{
		{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)},
		{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(8080)},
	}}}
	if edit != nil {
		edit(s)
	}
	s, err := o.client.CoreV1().Services("default").Create(o.t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	return s
}

// endpoint is one that is ready, by its IPv4 address.
func endpoint(node, ip string) discoveryv1.Endpoint {
	ready := true
	return discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
}

// endpoints sets what is behind a Service, in each family.
func (o objects) endpoints(service string, all ...discoveryv1.Endpoint) {
	o.t.Helper()
	tcp, udp, port := corev1.ProtocolTCP, corev1.ProtocolUDP, int32(8080)
	names := [2]string{"tcp", "udp"}
	slices := o.client.DiscoveryV1().EndpointSlices("default")
	ctx := context.WithoutCancel(o.t.Context())
	for _, f := range families {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: service + strings.ToLower("-"+string(f)), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressType(f),
			Ports:       []discoveryv1.EndpointPort{{Name: &names[0], Protocol: &tcp, Port: &port}, {Name: &names[1], Protocol: &udp, Port: &port}},
		}
		for _, e := range all {
			e.Addresses = []string{f.of(e.Addresses[0])}
			slice.Endpoints = append(slice.Endpoints, e)
		}
		if err := slices.Delete(ctx, slice.Name, metav1.DeleteOptions{}); err == nil {
			o.t.Logf("the %s endpoints of %s are exchanged", f, service)
		}
		if _, err := slices.Create(ctx, slice, metav1.CreateOptions{}); err != nil {
			o.t.Fatal(err)
		}
	}
}

// cgroupPrograms counts the programs at the sockets of a cgroup.
func cgroupPrograms(dir string) (int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	for _, at := range []ebpf.AttachType{
		ebpf.AttachCGroupInet4Connect, ebpf.AttachCGroupInet6Connect, ebpf.AttachCGroupUDP4Sendmsg, ebpf.AttachCGroupUDP6Sendmsg,
		ebpf.AttachCGroupUDP4Recvmsg, ebpf.AttachCGroupUDP6Recvmsg, ebpf.AttachCGroupInet4PostBind, ebpf.AttachCGroupInet6PostBind,
		ebpf.AttachCgroupInet4GetPeername, ebpf.AttachCgroupInet6GetPeername,
	} {
		r, err := link.QueryPrograms(link.QueryOptions{Target: int(f.Fd()), Attach: at})
		if err != nil {
			return 0, fmt.Errorf("programs of %s at %s: %w", dir, at, err)
		}
		n += len(r.Programs)
	}
	return n, nil
}
