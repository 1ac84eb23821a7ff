package podchurn

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	cluster = "podchurn"
	// patience bounds a wave on a machine that is busy otherwise.
	patience = 5 * time.Minute
	// moreHeap is how many more bytes of objects the server may have at the end, and
	// moreOpen and moreGoroutines how many more descriptors and goroutines: caches and
	// connections come and go.
	moreHeap       = 24 << 20
	moreOpen       = 20
	moreGoroutines = 300
)

// settings are those of a run.
type settings struct{ pods, wave, nodes, killEvery int }

func TestPodsComeAndGo(t *testing.T) {
	minato, images := os.Getenv("MINATO"), os.Getenv("IMAGES")
	if minato == "" || images == "" || os.Getuid() != 0 {
		t.Skip("needs root, MINATO (the binary) and IMAGES (the directory of test images); `make test-churn-pods` sets both")
	}
	s := settings{pods: number(t, "PODS", 10_000), wave: number(t, "WAVE", 40), nodes: number(t, "NODES", 2), killEvery: number(t, "KILL_EVERY", 5)}
	client := bringUp(t, minato, images, s)
	ctx := t.Context()
	// The first wave makes what is made once.
	wave(ctx, t, client, s.wave, "warm", false)
	before := settled(t, client, nil)
	t.Logf("before: %s", before)
	began, kills := time.Now(), 0
	for made, i := 0, 1; made < s.pods; made, i = made+s.wave, i+1 {
		kill := s.killEvery > 0 && i%s.killEvery == 0
		if kill {
			kills++
		}
		wave(ctx, t, client, min(s.wave, s.pods-made), fmt.Sprintf("w%d", i), kill)
		if i%10 == 0 {
			now, err := look(ctx, client, cluster)
			t.Logf("%d Pods after %s: %s %v", made+s.wave, time.Since(began).Round(time.Second), now, err)
		}
	}
	after := settled(t, client, &before)
	t.Logf("after %d Pods in %s, with %d SIGKILLs of the server: %s", s.pods, time.Since(began).Round(time.Second), kills, after)
	compare(t, before, after)
}

// compare fails where there is more than before.
func compare(t *testing.T, before, after held) {
	t.Helper()
	for _, what := range after.more(before) {
		t.Errorf("left over: %s", what)
	}
	if after.heap > before.heap+moreHeap {
		t.Errorf("the server has %d MiB of objects, and had %d", after.heap>>20, before.heap>>20)
	}
	if after.open > before.open+moreOpen {
		t.Errorf("the server has %d descriptors, and had %d", after.open, before.open)
	}
	if after.goroutines > before.goroutines+moreGoroutines {
		t.Errorf("the server has %d goroutines, and had %d", after.goroutines, before.goroutines)
	}
}

// number is a setting from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s is %q, want a number", name, text)
	}
	return n
}

// text is a setting from the environment.
func text(name, otherwise string) string {
	if s := os.Getenv(name); s != "" {
		return s
	}
	return otherwise
}

// bringUp makes the cluster, and removes it when the test is over.
func bringUp(t *testing.T, minato, images string, s settings) kubernetes.Interface {
	t.Helper()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(minato, args...).CombinedOutput(); err != nil {
			t.Fatalf("minato %v: %v\n%s", args, err, out)
		}
	}
	run("delete", "--ignore-not-found", "--name", cluster)
	t.Cleanup(func() { run("delete", "--name", cluster) })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	run("up", "--name", cluster, "--nodes", strconv.Itoa(s.nodes), "--kubeconfig", kubeconfig, "--wait", "5m",
		"--lan-cidr", text("LAN_CIDR", "172.23.0.0/16"), "--pod-cidr", text("POD_CIDR", "10.123.0.0/16"), "--service-cidr", text("SERVICE_CIDR", "10.124.0.0/16"))
	run("image", "load", "--name", cluster, filepath.Join(images, "busybox.tar"))
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	objects := []error{}
	_, err = client.CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"key": "value"}}, metav1.CreateOptions{})
	objects = append(objects, err)
	_, err = client.CoreV1().Secrets("default").Create(t.Context(), &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "secret"}, Data: map[string][]byte{"key": []byte("value")}}, metav1.CreateOptions{})
	for _, err := range append(objects, err) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return client
}

// wave makes Pods, waits until they run, and ends them. With kill, the server is
// killed while it makes them: none may be started twice.
func wave(ctx context.Context, t *testing.T, client kubernetes.Interface, n int, name string, kill bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pods := client.CoreV1().Pods("default")
	for i := range n {
		eventually(ctx, t, "create a Pod", func() (bool, error) {
			_, err := pods.Create(ctx, pod(fmt.Sprintf("%s-%d", name, i), name), metav1.CreateOptions{})
			return err == nil || i > 0 && kill && exists(ctx, client, fmt.Sprintf("%s-%d", name, i)), err
		})
	}
	if kill {
		pid, err := serverPID(cluster)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	mine := metav1.ListOptions{LabelSelector: "wave=" + name}
	eventually(ctx, t, "all Pods of wave "+name+" run", func() (bool, error) {
		list, err := pods.List(ctx, mine)
		if err != nil {
			return false, err
		}
		running := 0
		for i := range list.Items {
			p := &list.Items[i]
			if p.Status.Phase == v1.PodFailed {
				t.Fatalf("Pod %s failed: %s", p.Name, p.Status.Message)
			}
			for _, c := range p.Status.ContainerStatuses {
				if c.RestartCount > 0 {
					t.Fatalf("Pod %s was started %d times again: %+v", p.Name, c.RestartCount, c.LastTerminationState)
				}
			}
			if p.Status.Phase == v1.PodRunning {
				running++
			}
		}
		return running == n && len(list.Items) == n, nil
	})
	grace := int64(0)
	eventually(ctx, t, "all Pods of wave "+name+" are gone", func() (bool, error) {
		if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &grace}, mine); err != nil {
			return false, err
		}
		list, err := pods.List(ctx, mine)
		return err == nil && len(list.Items) == 0, err
	})
}

func exists(ctx context.Context, client kubernetes.Interface, name string) bool {
	_, err := client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
	return err == nil
}

// pod has volumes of every kind that the node makes by itself.
func pod(name, wave string) *v1.Pod {
	grace := int64(0)
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"wave": wave}},
		Spec: v1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []v1.Container{{
				Name: "box", Image: "busybox:1.28", Command: []string{"sh", "-c", "echo hello; date > /disk/file; date > /memory/file; exec sleep 3600"},
				VolumeMounts: []v1.VolumeMount{{Name: "disk", MountPath: "/disk"}, {Name: "memory", MountPath: "/memory"}, {Name: "config", MountPath: "/config"}, {Name: "secret", MountPath: "/secret", SubPath: "key"}},
			}},
			Volumes: []v1.Volume{
				{Name: "disk", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
				{Name: "memory", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}},
				{Name: "config", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "settings"}}}},
				{Name: "secret", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "secret"}}},
			},
		},
	}
}

// eventually polls until ok, or ctx ends.
func eventually(ctx context.Context, t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// settled looks until there is no more than before, or for a minute: what is left
// then is a leak. Without before, it waits until two looks find the same.
func settled(t *testing.T, client kubernetes.Interface, before *held) held {
	t.Helper()
	return settle(t, before, func() (held, error) { return look(t.Context(), client, cluster) })
}

// leastLooks are in how many looks, two seconds apart, the heap is looked at.
const leastLooks = 12

func settle(t *testing.T, before *held, look func() (held, error)) held {
	t.Helper()
	var last held
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	least, looks := int64(math.MaxInt64), 0
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		is, err := look()
		if err != nil {
			t.Fatal(err)
		}
		least, looks = min(least, is.heap), looks+1
		is.heap = least
		over := time.Now().After(deadline)
		switch {
		case looks < leastLooks: // a collection is to come in between
		case before != nil && (len(is.more(*before)) == 0 || over), before == nil && (len(last.counts) > 0 && len(is.more(last)) == 0 && len(last.more(is)) == 0 || over):
			return is
		}
		last = is
	}
}
