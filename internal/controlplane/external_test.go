package controlplane

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// externalEtcd is an etcd on loopback that belongs to somebody else.
func externalEtcd(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "http", Host: l.Addr().String()}
	_ = l.Close() // etcd opens it again
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(shortDir(t), "etcd")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{u}, []url.URL{u}
	cfg.ListenPeerUrls = nil
	cfg.LogLevel = "panic"
	cfg.UnsafeNoFsync = true
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(deadline):
		t.Fatal("the external etcd didn't start")
	}
	return u.String()
}

func TestExternalEtcd(t *testing.T) {
	dir, endpoint := shortDir(t), externalEtcd(t)
	r := launch(t, dir, func(c *Config) {
		c.EtcdServers = []string{endpoint}
		c.RunDir = ""
	})
	client := clientFor(t, r.RESTConfig("test-root", "system:masters"))
	_, err := client.CoreV1().ConfigMaps("default").Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "etcd")); !os.IsNotExist(err) {
		t.Errorf("with an external etcd there is a local one as well: %v", err)
	}
	r.stop(t)
}
