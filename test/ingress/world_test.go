package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/host"
	"minato/test/lab"
	"minato/test/stock"
)

// The machines of the test, each a network namespace:
//
//	lan 172.31.0.1 ─ bridge ─┬─ client 172.31.0.100
//	                         ├─ i1, i2 172.31.0.11, .12: the ingress
//	                         └─ p1, p2, p3 172.31.0.21 to .23: what is behind it
//
// Each address has a twin of IPv6, see lab.Family.
const (
	lanIP    = "172.31.0.1"
	clientIP = "172.31.0.100"
	replicas = 2
	servers  = 3
	prefix   = "mt-ing-"
	mtu      = 1500

	namespace = "ingress-nginx"
	lease     = "ingress-nginx-leader"
	manifest  = "../../deploy/ingress.yaml"
	published = "192.0.2.80"
	nobody    = 65534
)

func replicaIP(i int) string { return fmt.Sprintf("172.31.0.%d", 10+i) }
func serverIP(i int) string  { return fmt.Sprintf("172.31.0.%d", 20+i) }

// world is a cluster with an ingress.
type world struct {
	*testing.T
	lab.Objects
	cluster     *stock.Cluster
	lan, client host.Netns
	daemons     *appsv1.DaemonSet
	kubeconfig  string // that nobody can read
	dir         string
	replica     [replicas + 1]*replica
	slow        chan struct{} // holds a token after a request to /slow has come
}

// replica is one Pod of the ingress.
type replica struct {
	*world
	name    string // of the Pod, and of its node
	ip      string
	ns      host.Netns
	runs    int
	running *lab.Program
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if os.Getenv("MINATO") == "" {
		t.Skip("needs MINATO (the binary); `make test-e2e` sets it")
	}
	cluster, err := stock.Start(t.Context(), t.TempDir(), stock.Options{ServiceCIDR: "10.97.0.0/16," + lab.IPv6.Prefix("10.97.0.0/16").String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	w := &world{T: t, cluster: cluster, Objects: lab.Objects{TB: t, Client: cluster.Client()}, lan: lab.Namespace(t, prefix+"lan"), slow: make(chan struct{}, 1)}
	lab.Edit(t, w.lan, func(n *host.Net) error { return n.EnsureBridge("br", mtu, lab.Both(lanIP+"/16")...) })
	w.client = w.machine("client", clientIP)
	for i := 1; i <= servers; i++ {
		name := fmt.Sprint("p", i)
		ns := w.machine(name, serverIP(i))
		for _, f := range lab.Families {
			w.serve(ns, name, f.At(serverIP(i), 8080))
		}
	}
	var account lab.Account
	w.daemons, account = lab.Apply(t, cluster, manifest)
	w.share(account.Kubeconfig)
	for i := 1; i <= replicas; i++ {
		w.replica[i] = w.newReplica(i)
	}
	t.Cleanup(func() {
		for _, r := range w.replica[1:] {
			if r.running == nil {
				continue
			}
			r.running.End(syscall.SIGKILL)
			if t.Failed() {
				t.Logf("%s:\n%s", r.name, r.running.Text())
			}
		}
	})
	return w
}

// share copies a kubeconfig to where everybody can read it: the token in it ends with the cluster.
func (w *world) share(kubeconfig string) {
	w.Helper()
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { os.RemoveAll(dir) })
	data, err := os.ReadFile(kubeconfig)
	w.dir, w.kubeconfig = dir, filepath.Join(dir, "kubeconfig")
	if err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(w.kubeconfig, data, 0o644)); err != nil {
		w.Fatal(err)
	}
}

// machine makes a namespace on the bridge.
func (w *world) machine(name, ip string) host.Netns {
	w.Helper()
	ns := lab.Namespace(w.T, prefix+name)
	lab.Edit(w.T, w.lan, func(n *host.Net) error {
		return n.AddVeth("v-"+name, "br", nil, host.VethEnd{Netns: ns, Name: "eth0"}, mtu)
	})
	lab.Edit(w.T, ns, func(n *host.Net) error {
		return errors.Join(lab.Addresses(n, "eth0", ip+"/16"), n.SetUp("eth0", ""), lab.Routes(n, "eth0", lab.Everywhere, lanIP))
	})
	return ns
}

// serve answers HTTP requests with a line that says who answers whom, at /slow after a while.
func (w *world) serve(ns host.Netns, name, addr string) {
	w.Helper()
	l, err := ns.Listen(context.Background(), "tcp", addr)
	if err != nil {
		w.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.slow <- struct{}{}
			select {
			case <-time.After(2 * time.Second):
			case <-r.Context().Done():
			}
		}
		fmt.Fprintf(out, "%s %s %s", name, r.URL.Path, r.Header.Get("X-Forwarded-For"))
	})}
	w.Cleanup(func() { server.Close() })
	go server.Serve(l)
}

// newReplica makes a node, and a Pod of the manifest's on it, with the sysctls that the manifest sets.
func (w *world) newReplica(i int) *replica {
	w.Helper()
	r := &replica{world: w, name: fmt.Sprint("i", i), ip: replicaIP(i)}
	r.ns = w.machine(r.name, r.ip)
	if _, err := w.cluster.Node(w.Context(), r.name, []netip.Addr{lab.IPv4.Addr(r.ip)}, netip.Prefix{}, nil); err != nil {
		w.Fatal(err)
	}
	template := w.daemons.Spec.Template
	for _, s := range template.Spec.SecurityContext.Sysctls {
		if err := r.ns.Sysctls(map[string]string{strings.ReplaceAll(s.Name, ".", "/"): s.Value}); err != nil {
			w.Fatal(err)
		}
	}
	r.createPod()
	lab.Forward(w.T, r.ns, w.cluster.Address())
	return r
}

func (r *replica) createPod() {
	r.Helper()
	template := r.daemons.Spec.Template
	pods := r.Client.CoreV1().Pods(namespace)
	p, err := pods.Create(r.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: r.name, Labels: template.Labels}, Spec: *template.Spec.DeepCopy()}, metav1.CreateOptions{})
	if err == nil {
		p.Status.Phase = corev1.PodRunning
		_, err = pods.UpdateStatus(r.Context(), p, metav1.UpdateOptions{})
	}
	if err != nil {
		r.Fatal(err)
	}
}

// start starts the ingress as the manifest has it; more are further arguments, which count more.
func (r *replica) start(more ...string) {
	r.Helper()
	r.runs++
	c := r.daemons.Spec.Template.Spec.Containers[0]
	var args []string
	for _, a := range c.Args {
		args = append(args, strings.ReplaceAll(a, "$(POD_NAMESPACE)", namespace))
	}
	args = append(args, "--kubeconfig="+r.kubeconfig, "--shutdown-grace-period=1", "--v=4")
	user := *r.daemons.Spec.Template.Spec.SecurityContext.RunAsUser
	r.running = lab.StartAs(r.T, r.ns, filepath.Join(r.dir, fmt.Sprintf("%s-%d.log", r.name, r.runs)), lab.Process{
		User: uint32(user), Env: []string{"POD_NAME=" + r.name, "POD_NAMESPACE=" + namespace, "NODE_NAME=" + r.name},
	}, append(args, more...)...)
}

// health is what the manifest's readiness probe gets.
func (r *replica) health() (int, string) {
	return lab.Get(r.ns, "http://127.0.0.1:10254"+r.daemons.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Path)
}

func (r *replica) waitReady() {
	r.Helper()
	lab.Eventually(r.T, r.name+" is ready", func() error {
		select {
		case <-r.running.Done:
			r.Fatalf("the ingress of %s ended:\n%s", r.name, r.running.Text())
		default:
		}
		if code, body := r.health(); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
}

// browser is a client without redirects, in a namespace of its own, that finds every host at a replica.
func (r *replica) browser(f lab.Family, keepAlive bool) *http.Client {
	return &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: !keepAlive,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the test looks at the certificate itself
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				return r.client.DialContext(ctx, "tcp", net.JoinHostPort(f.Of(r.ip), port))
			},
		},
	}
}

// answer is what a client got.
type answer struct {
	code   int
	body   string
	header http.Header
	tls    *tls.ConnectionState
}

func ask(c *http.Client, url string) (answer, error) {
	resp, err := c.Get(url)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Header, resp.TLS}, err
}

// everywhere asks every replica over both families until each gives the answer.
func (w *world) everywhere(what, url string, complaint func(answer) error) {
	w.Helper()
	for _, r := range w.replica[1:] {
		for _, f := range lab.Families {
			c := r.browser(f, false)
			lab.Eventually(w.T, fmt.Sprintf("%s: %s at %s over %s", what, url, r.name, f), func() error {
				a, err := ask(c, url)
				if err == nil {
					err = complaint(a)
				}
				return err
			})
		}
	}
}

// says wants an answer of 200 that begins with a text.
func says(text string) func(answer) error {
	return func(a answer) error {
		if a.code != http.StatusOK || !strings.HasPrefix(a.body, text) {
			return fmt.Errorf("%d %q, want 200 %q", a.code, a.body, text)
		}
		return nil
	}
}

func code(n int) func(answer) error {
	return func(a answer) error {
		if a.code != n {
			return fmt.Errorf("%d %q, want %d", a.code, a.body, n)
		}
		return nil
	}
}

// backend makes a Service and its endpoints, by the numbers of the servers.
func (w *world) backend(name string, which ...int) {
	w.Helper()
	w.Service(name, nil)
	w.behind(name, which...)
}

// ingress makes an Ingress as it was written for ingress-nginx. A rule is a host, a path and a Service.
func (w *world) ingress(name string, edit func(*networkingv1.Ingress), rules ...[3]string) *networkingv1.Ingress {
	w.Helper()
	class := "nginx"
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}, Spec: networkingv1.IngressSpec{IngressClassName: &class}}
	for _, rule := range rules {
		kind := networkingv1.PathTypePrefix
		if strings.ContainsAny(rule[1], "(") {
			kind = networkingv1.PathTypeImplementationSpecific
		}
		ing.Spec.Rules = append(ing.Spec.Rules, networkingv1.IngressRule{Host: rule[0], IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: rule[1], PathType: &kind, Backend: networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: rule[2], Port: networkingv1.ServiceBackendPort{Number: 80}},
			}}},
		}}})
	}
	if edit != nil {
		edit(ing)
	}
	out, err := w.Client.NetworkingV1().Ingresses("default").Create(w.Context(), ing, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// leader is the Pod that writes status and events, nil if there is none.
func (w *world) leader() (*replica, error) {
	l, err := w.Client.CoordinationV1().Leases(namespace).Get(w.Context(), lease, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for _, r := range w.replica[1:] {
		if l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == r.name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the Lease is %+v", l.Spec)
}

// hasAddress wants an Ingress's status to have an address, or none if it is empty.
func (w *world) hasAddress(name, want string) {
	w.Helper()
	lab.Eventually(w.T, fmt.Sprintf("the address of Ingress %s is %q", name, want), func() error {
		ing, err := w.Client.NetworkingV1().Ingresses("default").Get(context.WithoutCancel(w.Context()), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		have := ""
		for _, a := range ing.Status.LoadBalancer.Ingress {
			have += a.IP + a.Hostname
		}
		if have != want {
			return fmt.Errorf("it is %q", have)
		}
		return nil
	})
}
