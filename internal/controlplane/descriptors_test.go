package controlplane

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const descriptorsChild = "MINATO_TEST_DESCRIPTORS"

// TestOutOfDescriptors has a process with a control plane run out of
// descriptors while it is used, lose etcd in that state, and find some again.
// It is a process of its own because the limit is a process's.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv(descriptorsChild) != "" {
		outOfDescriptors(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
	cmd.Env = append(os.Environ(), descriptorsChild+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the process with the control plane: %v\n%s", err, out)
	}
}

func outOfDescriptors(t *testing.T) {
	r, end := launchMortal(t)
	defer r.stop(t)
	client := clientFor(t, r.RESTConfig("kubernetes-admin", "kubeadm:cluster-admins")).CoreV1().ConfigMaps("default")
	write := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "written-"}}, metav1.CreateOptions{})
		return err
	}
	if err := write(t.Context()); err != nil {
		t.Fatal(err)
	}

	eventually(t, "controllers", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.stages["controllers"] > 0
	})
	taken := takeDescriptors(t)
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
		if err := write(t.Context()); err != nil {
			t.Fatalf("without descriptors: %v", err)
		}
	}
	// An etcd that ends now starts with the descriptors that it gave back, or
	// when there are some again.
	end <- struct{}{}
	if part := <-r.failed; part != PartEtcd {
		t.Errorf("%s failed", part)
	}
	for _, f := range taken {
		_ = f.Close()
	}
	eventually(t, "write when there are descriptors again", func() bool { return write(t.Context()) == nil })
}

// takeDescriptors opens all that the process may have.
func takeDescriptors(t *testing.T) []*os.File {
	t.Helper()
	limit := syscall.Rlimit{Cur: 1000, Max: 1000}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			return taken
		}
		taken = append(taken, f)
	}
}
