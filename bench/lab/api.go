package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"minato/test/stock"
)

// API is an API server with Services.
type API struct {
	*stock.Cluster
	client kubernetes.Interface
	filled int
}

// namespaces is over how many the Services are spread.
const namespaces = 20

// StartAPI starts etcd and kube-apiserver with nothing in it but the nodes.
func StartAPI(ctx context.Context, dir string, nodes ...string) (*API, error) {
	c, err := stock.Start(ctx, filepath.Join(dir, "api"), stock.Options{})
	if err != nil {
		return nil, err
	}
	a := &API{Cluster: c}
	config := c.Config()
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	if a.client, err = kubernetes.NewForConfig(config); err != nil {
		c.Close()
		return nil, err
	}
	for i := range namespaces {
		_, err := a.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace(i)}}, metav1.CreateOptions{})
		if err != nil {
			c.Close()
			return nil, err
		}
	}
	for _, name := range nodes {
		if _, err := c.Node(ctx, name, []netip.Addr{NodeIP}, netip.PrefixFrom(ClientIP, 24).Masked(), nil); err != nil {
			c.Close()
			return nil, err
		}
	}
	return a, nil
}

func namespace(i int) string { return fmt.Sprintf("bench-%d", i%namespaces) }

// Relay makes the API server reachable at its own address from inside a
// namespace, where the address is another machine's loopback.
func (a *API) Relay(ctx context.Context, w *World) (stop func(), err error) {
	l, err := w.Node.Listen(ctx, "tcp4", a.Address())
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relay(c, a.Address())
		}
	}()
	return func() { l.Close() }, nil
}

func relay(from net.Conn, address string) {
	defer from.Close()
	to, err := net.Dial("tcp4", address)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		defer from.Close()
		defer to.Close()
		io.Copy(from, to) // ends with either of them
	}()
	io.Copy(to, from)
}
