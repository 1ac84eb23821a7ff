package node

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/node/volume"
)

// nobody is a user of the machine who owns nothing.
const nobody = 65534

type oneObject struct{}

func (oneObject) ConfigMap(context.Context, types.UID, string, string) (*v1.ConfigMap, error) {
	return &v1.ConfigMap{Data: map[string]string{"key": "value"}}, nil
}
func (oneObject) Secret(context.Context, types.UID, string, string) (*v1.Secret, error) {
	return &v1.Secret{Data: map[string][]byte{"key": []byte("value")}}, nil
}
func (oneObject) Token(context.Context, string, string, *authv1.TokenRequest) (*authv1.TokenRequest, error) {
	return &authv1.TokenRequest{Status: authv1.TokenRequestStatus{Token: "token", ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour))}}, nil
}

// asNobody runs a shell script as that user.
func asNobody(t *testing.T, script, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Dir, cmd.Stdin = "/", strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// The users of the machine can read nothing of what Pods are given, and the
// users of containers everything that they mount.
func TestVolumesAreClosedToUsersOfTheMachine(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	top := t.TempDir()
	for dir := top; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Dir: filepath.Join(top, "data"), RunDir: filepath.Join(top, "run"), Mounter: hostMounter{}}
	t.Cleanup(func() {
		if err := host.UnmountAllUnder(top); err != nil {
			t.Error(err)
		}
	})
	if err := os.MkdirAll(cfg.podsDir(), 0o777); err != nil { // as an earlier agent had it
		t.Fatal(err)
	}
	for range 2 {
		if err := cfg.makeDirs(); err != nil {
			t.Fatal(err)
		}
	}
	volumes := volume.New(volume.Config{
		Dir: cfg.podsDir(), MemoryDir: cfg.memoryDir(), Objects: oneObject{}, Tokens: oneObject{}, Mounter: cfg.Mounter,
	})
	ref := v1.LocalObjectReference{Name: "x"}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Name: "p", Namespace: "ns"}, Spec: v1.PodSpec{Volumes: []v1.Volume{
		{Name: "secret", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "x"}}},
		{Name: "config", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref}}},
		{Name: "token", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "key"}}}}}},
		{Name: "self", VolumeSource: v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{{Path: "key", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}}},
		{Name: "empty", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
		{Name: "memory", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}},
	}}}
	ctr := v1.Container{Name: "c"} // a volume that no container names is not made
	for i := range pod.Spec.Volumes {
		name := pod.Spec.Volumes[i].Name
		ctr.VolumeMounts = append(ctr.VolumeMounts, v1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	pod.Spec.Containers = []v1.Container{ctr}
	if _, err := volumes.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"empty", "memory"} {
		path, err := volumes.Path(pod, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "key"), []byte("value"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	for _, dir := range []string{cfg.Dir, cfg.RunDir} {
		err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
			all = append(all, p)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 30 {
		t.Fatalf("only %d files to look at: %v", len(all), all)
	}
	const readable = `while read -r p; do if [ -r "$p" ] || [ -w "$p" ] || [ -x "$p" ] && [ "$p" != "$1" ]; then echo "$p"; fi; done`
	if got := asNobody(t, readable, strings.Join(all, "\n")+"\n", cfg.RunDir); got != "" {
		t.Errorf("a user of the machine can reach\n%s", got)
	}
	// The roots of user namespaces pass through to their own mounts, if they know the
	// way.
	if got := asNobody(t, `test -r "$1" || test -w "$1" || echo closed`, "", cfg.RunDir); strings.TrimSpace(got) != "closed" {
		t.Error("a user of the machine can list the directory for what runs")
	}
	for _, name := range []string{"secret", "config", "token", "self", "empty", "memory"} {
		path, err := volumes.Path(pod, name)
		if err != nil {
			t.Fatal(err)
		}
		inside := filepath.Join(top, "inside-"+name) // as in a container
		if err := os.Mkdir(inside, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := host.BindMount(path, inside, false); err != nil {
			t.Fatal(err)
		}
		if got := asNobody(t, `cat "$1/key"`, "", inside); got == "" {
			t.Errorf("a container's user reads nothing in volume %s", name)
		}
	}
	for _, name := range []string{"secret", "token", "self", "memory"} {
		path, _ := volumes.Path(pod, name)
		var st syscall.Statfs_t
		if err := syscall.Statfs(path, &st); err != nil || st.Type != 0x01021994 {
			t.Errorf("volume %s is on a file system of type %#x (%v), want a tmpfs", name, st.Type, err)
		}
	}
	if err := volumes.TearDown(t.Context(), pod.UID); err != nil {
		t.Error(err)
	}
}
