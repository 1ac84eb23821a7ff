package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// Exports that are written in a Pod and those of claims are mounted once, with what they
// ask for, and go with the Pod.
func TestNFS(t *testing.T) {
	b, f, _ := claimBench(t)
	var mounted []string
	refuse := errors.New("no server")
	b.mounter.nfs = func(path string, e host.NFS) error {
		if refuse != nil {
			return refuse
		}
		rel, _ := filepath.Rel(b.cfg.Dir, path)
		mounted = append(mounted, fmt.Sprintf("%s %s:%s %v %v", rel, e.Server, e.Path, e.ReadOnly, e.Options))
		b.mounter.mounts[path] = "nfs"
		return nil
	}
	f.volumes["pv"].Spec.PersistentVolumeSource = v1.PersistentVolumeSource{NFS: &v1.NFSVolumeSource{Server: "files", Path: "/claims"}}
	f.volumes["pv"].Spec.MountOptions = []string{"hard", "nfsvers=4.1"}
	for _, source := range []v1.VolumeSource{
		{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}},
		{NFS: &v1.NFSVolumeSource{Server: "192.0.2.1", Path: "/e", ReadOnly: true}},
	} {
		mounted, refuse = nil, errors.New("no server")
		pod := podWith(source)
		pod.UID = "n"
		if _, err := b.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "no server") {
			t.Error(err)
		}
		refuse = nil
		for range 2 {
			if _, err := b.SetUp(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
		}
		want, readOnly := "n/volumes/kubernetes.io~nfs/pv files:/claims false [hard nfsvers=4.1]", false
		if source.NFS != nil {
			want, readOnly = "n/volumes/kubernetes.io~nfs/data 192.0.2.1:/e true []", true
		}
		if !slices.Equal(mounted, []string{want}) {
			t.Errorf("mounted %q, want %q", mounted, want)
		}
		path, err := b.Path(pod, "data")
		if rel, _ := filepath.Rel(b.cfg.Dir, path); err != nil || !strings.HasPrefix(want, rel+" ") {
			t.Error(path, err)
		}
		if got := b.readOnly(pod, &pod.Spec.Volumes[0]); got != readOnly {
			t.Errorf("read-only: %v", got)
		}
		// A server that does not answer keeps no figures from anybody.
		if s := append(b.Stats(t.Context(), pod), b.ClaimStats(pod)...); len(s) > 0 {
			t.Errorf("stats %+v", s)
		}
		// The next agent finds it mounted.
		b.Manager = New(b.cfg)
		if _, err := b.SetUp(t.Context(), pod); err != nil || len(mounted) != 1 {
			t.Error(err, mounted)
		}
		if err := b.TearDown(t.Context(), pod.UID); err != nil {
			t.Fatal(err)
		}
		if _, there := b.mounter.mounts[path]; there {
			t.Error("still mounted after the Pod")
		}
	}
}

// A server that takes connections and does not answer keeps one mount, and neither the Pod
// nor its end.
func TestNFSOfAServerThatDoesNotAnswer(t *testing.T) {
	b, _, _ := claimBench(t)
	answer := make(chan struct{})
	var calls atomic.Int32
	b.mounter.nfs = func(string, host.NFS) error {
		calls.Add(1)
		<-answer // as the kernel does, whatever becomes of the Pod
		return errors.New("gone")
	}
	pod := podWith(v1.VolumeSource{NFS: &v1.NFSVolumeSource{Server: "192.0.2.1", Path: "/e"}})
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := b.SetUp(ctx, pod); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d mounts are under way", n)
	}
	if err := b.TearDown(t.Context(), pod.UID); err != nil {
		t.Error(err)
	}
	close(answer)
}

// TestNFSIsFoundWithoutItsServer has an agent that is started again look for a mount: the
// directory itself belongs to a server that may not answer.
func TestNFSIsFoundWithoutItsServer(t *testing.T) {
	b, _, _ := claimBench(t)
	b.mounter.nfs = func(path string, _ host.NFS) error { b.mounter.mounts[path] = "nfs"; return nil }
	pod := podWith(v1.VolumeSource{NFS: &v1.NFSVolumeSource{Server: "192.0.2.1", Path: "/e"}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, err := b.Path(pod, "data")
	if err != nil {
		t.Fatal(err)
	}
	b.mounter.looked = nil
	b.Manager = New(b.cfg)
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if len(b.mounter.looked) == 0 || slices.Contains(b.mounter.looked, dir) {
		t.Errorf("mounts were looked for at %q", b.mounter.looked)
	}
}
