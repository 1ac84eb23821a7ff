package stock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"minato/internal/controlplane/pki"
)

// Options of a control plane. The zero value is a kube-apiserver without any controllers.
type Options struct {
	// ServiceCIDR is the range of cluster IPs, 10.96.0.0/16 by default; two ranges of both families with a comma
	// between them make Services dual-stack.
	ServiceCIDR string
	// Controllers are the loops of kube-controller-manager to run, by the names of its --controllers flag, such as
	// endpointslice-controller. Without any it is not started.
	Controllers []string
	// APIServerArgs and ControllerArgs are further flags.
	APIServerArgs, ControllerArgs []string
}

const (
	defaultServiceCIDR = "10.96.0.0/16"
	// readyWithin bounds a start on a busy machine.
	readyWithin = 2 * time.Minute
	// portTries is for ports that another process takes between the look and the start.
	portTries = 5
)

// Cluster is a running control plane.
type Cluster struct {
	dir, scratch string
	port         int
	authority    *pki.Authority
	store        *embed.Etcd
	processes    []*process
	config       *rest.Config
	client       kubernetes.Interface
}

// Start starts a control plane that keeps its files and logs in dir, and returns when it is ready. The caller closes
// it; dir is the caller's to remove.
func Start(ctx context.Context, dir string, o Options) (*Cluster, error) {
	if o.ServiceCIDR == "" {
		o.ServiceCIDR = defaultServiceCIDR
	}
	c := &Cluster{dir: dir}
	if err := c.start(ctx, o); err != nil {
		c.Close()
		return nil, fmt.Errorf("start a stock control plane in %s: %w", dir, err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options) error {
	// Building may take minutes, so it is no part of the bounded start.
	server, err := Binary(ctx, "kube-apiserver")
	if err != nil {
		return err
	}
	manager := ""
	if len(o.Controllers) > 0 {
		if manager, err = Binary(ctx, "kube-controller-manager"); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %s", readyWithin))
	defer cancel()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	// The kernel takes only short paths for sockets.
	if c.scratch, err = os.MkdirTemp("", "stock-"); err != nil {
		return err
	}
	c.authority, err = pki.Open(pki.Config{
		Dir: filepath.Join(c.dir, "pki"), DNSNames: []string{"localhost", "kubernetes.default.svc"},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})},
	})
	if err != nil {
		return err
	}
	socket := filepath.Join(c.scratch, "etcd")
	if c.store, err = startStore(ctx, c.dir, socket); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, server, socket, o); err != nil || manager == "" {
		return err
	}
	return c.startControllers(ctx, manager, o)
}

// Kubeconfig is the path of an administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "admin.conf") }

// Address is where the API server listens.
func (c *Cluster) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// CABundle is what signed the API server's certificate, in PEM.
func (c *Cluster) CABundle() []byte { return c.authority.CABundle() }

// Config is a copy of the administrator's client configuration, without a limit of requests.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client is the administrator's.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Close ends everything. It may be called again.
func (c *Cluster) Close() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].stop()
	}
	c.processes = nil
	if c.store != nil {
		c.store.Close()
		c.store = nil
	}
	if c.scratch != "" {
		os.RemoveAll(c.scratch)
	}
}

// adminToken is the administrator's. The user is in system:masters, which may do everything from the API server's first
// moment on: certificates of package pki have their rights from roles, which a stock API server reads after its start.
const adminToken = "admin"

// writeAdminToken writes what the API server knows the administrator by.
func (c *Cluster) writeAdminToken() error {
	return os.WriteFile(filepath.Join(c.dir, "tokens.csv"), []byte(adminToken+",admin,admin,"+user.SystemPrivilegedGroup+"\n"), 0o600)
}

func (c *Cluster) connect() error {
	admin := c.authority.AdminConfig("https://"+c.Address(), "stock")
	for _, who := range admin.AuthInfos {
		who.ClientCertificateData, who.ClientKeyData, who.Token = nil, nil, adminToken
	}
	data, err := clientcmd.Write(*admin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.Kubeconfig(), data, 0o600); err != nil {
		return err
	}
	if c.config, err = clientcmd.RESTConfigFromKubeConfig(data); err != nil {
		return err
	}
	c.config.QPS = -1
	c.client, err = kubernetes.NewForConfig(c.config)
	return err
}

func (c *Cluster) startAPIServer(ctx context.Context, path, socket string, o Options) (err error) {
	if err := c.writeAdminToken(); err != nil {
		return err
	}
	for range portTries {
		if c.port, err = freePort(); err != nil {
			return err
		}
		p, err := start(path, c.dir, append(c.apiServerArgs(socket, o), o.APIServerArgs...)...)
		if err != nil {
			return err
		}
		err = c.waitReady(ctx, p)
		if err == nil {
			c.processes = append(c.processes, p)
			return nil
		}
		p.stop()
		if !p.says("address already in use") {
			return err
		}
	}
	return fmt.Errorf("no port stayed free for kube-apiserver in %d tries", portTries)
}

func (c *Cluster) apiServerArgs(socket string, o Options) []string {
	files := c.authority.Paths()
	pkiDir := filepath.Join(c.dir, "pki")
	return []string{
		"--etcd-servers=unix://" + socket,
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(c.port),
		// Nobody is told of this address: without a reconciler, default/kubernetes has no endpoints.
		"--advertise-address=10.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + filepath.Join(pkiDir, "apiserver.crt"), "--tls-private-key-file=" + filepath.Join(pkiDir, "apiserver.key"),
		"--client-ca-file=" + files.CACert,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + files.ServiceAccountPub, "--service-account-signing-key-file=" + files.ServiceAccountKey,
		"--service-cluster-ip-range=" + o.ServiceCIDR,
		"--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--token-auth-file=" + filepath.Join(c.dir, "tokens.csv"),
		"--cert-dir=" + pkiDir,
	}
}

// freePort finds a port of the loopback address that nobody has now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// waitReady returns when the API server says that it is ready.
func (c *Cluster) waitReady(ctx context.Context, p *process) error {
	if err := c.connect(); err != nil {
		return err
	}
	client := c.client.CoreV1().RESTClient()
	for {
		var status int
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := client.Get().AbsPath("/readyz").Do(try).StatusCode(&status).Error()
		cancel()
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver: %w: %w; the end of its log:\n%s", context.Cause(ctx), err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) startControllers(ctx context.Context, path string, o Options) error {
	files := c.authority.Paths()
	p, err := start(path, c.dir, append([]string{
		"--kubeconfig=" + c.Kubeconfig(), "--controllers=" + strings.Join(o.Controllers, ","),
		"--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=2000",
		"--service-account-private-key-file=" + files.ServiceAccountKey, "--root-ca-file=" + files.CACert,
		"--cert-dir=" + filepath.Join(c.dir, "pki"),
	}, o.ControllerArgs...)...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	// It has no door to knock at; a mistake in its flags ends it at once.
	for !p.says("Starting") {
		select {
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), fmt.Errorf("kube-controller-manager does not start; the end of its log:\n%s", p.tail()))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
