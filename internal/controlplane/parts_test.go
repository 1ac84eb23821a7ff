package controlplane

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/controlplane/controllers"
	"minato/internal/controlplane/etcd"
)

func TestKeepRunning(t *testing.T) {
	var failures []string
	c := &ControlPlane{cfg: Config{Logger: testLogger(), PartFailed: func(part string, err error) {
		failures = append(failures, part+": "+err.Error())
	}}}
	ctx, cancel := context.WithCancel(context.Background())
	runs := 0
	c.keepRunning(ctx, "part", func(context.Context) error {
		switch runs++; runs {
		case 1:
			return errors.New("out of luck")
		case 2:
			return nil
		}
		cancel()
		return errors.New("told to end")
	})
	if got := strings.Join(failures, "; "); runs != 3 || got != "part: out of luck; part: part ended by itself" {
		t.Errorf("after %d runs: %s", runs, got)
	}
}

// TestPartsAreStartedAgain ends etcd under a control plane that is in use, and
// runs its controllers twice.
func TestPartsAreStartedAgain(t *testing.T) {
	r, end := launchMortal(t)
	defer r.stop(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client := clientFor(t, r.adminConfig(t))

	end <- struct{}{}
	select {
	case part := <-r.failed:
		if part != PartEtcd {
			t.Fatalf("%s failed", part)
		}
	case <-time.After(deadline):
		t.Fatal("nobody tells that etcd has ended")
	}
	begin := time.Now()
	eventually(t, "write after etcd was started again", func() bool {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := client.CoreV1().Namespaces().Create(short, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "again-"}}, metav1.CreateOptions{})
		return err == nil
	})
	t.Logf("the API writes again after %v", time.Since(begin))
	eventually(t, "ServiceAccount by a controller", func() bool {
		list, err := client.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
		if err != nil {
			return false
		}
		for _, a := range list.Items {
			if strings.HasPrefix(a.Namespace, "again-") {
				return true
			}
		}
		return false
	})

	started := make(chan struct{}, 2)
	m, err := controllers.New(controllers.Config{
		ClusterName: "test", Connect: r.RESTConfig, PKI: r.PKI(), PodCIDRs: r.cfg.PodCIDRs, ServiceCIDRs: r.cfg.ServiceCIDRs,
		NodeCIDRMaskIPv4: 24, NodeCIDRMaskIPv6: 64, VolumePluginDir: filepath.Join(shortDir(t), "plugins"),
		Stage: func(string, time.Duration) { started <- struct{}{} }, Logger: testLogger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for run := range 2 {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		select {
		case <-started:
		case err := <-done:
			t.Fatalf("run %d of the controllers: %v", run+1, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run %d of the controllers: %v", run+1, err)
		}
	}
}

// launchMortal starts a control plane whose etcd ends for each value that is
// sent.
func launchMortal(t *testing.T) (*running, chan<- struct{}) {
	t.Helper()
	failed, end := make(chan string, 100), make(chan struct{})
	r := launch(t, shortDir(t), func(c *Config) {
		c.Ephemeral = true
		c.PartFailed = func(part string, err error) { failed <- part }
		c.newStore = func(cfg etcd.Config) (store, error) {
			s, err := etcd.New(cfg)
			return mortal{s, end}, err
		}
	})
	r.failed = failed
	return r, end
}

// mortal is an etcd that ends when it is told to, as if by itself.
type mortal struct {
	store
	end <-chan struct{}
}

func (m mortal) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-m.end:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := m.store.Run(ctx); err != nil {
		return err
	}
	return errors.New("told to end")
}
