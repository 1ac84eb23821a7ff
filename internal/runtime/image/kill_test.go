package image

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// killEnv has the test's program pull into a store instead: "DIR IMAGE".
const killEnv = "MINATO_TEST_PULL"

// A server that is killed at any moment of a pull leaves a store in which every
// image is whole, and nothing else after the next start.
func TestKilledDuringPull(t *testing.T) {
	if job := os.Getenv(killEnv); job != "" {
		pullInChild(t, job)
		return
	}
	needRoot(t)
	var layers [][]byte
	for i := range 4 {
		var entries []entry
		for j := range 50 {
			entries = append(entries, file(fmt.Sprintf("d%d/f%d", i, j), strings.Repeat(fmt.Sprintf("%d-%d ", i, j), 2000)))
		}
		layers = append(layers, makeTar(t, append([]entry{dir(fmt.Sprintf("d%d", i), 0o755)}, entries...)...))
	}
	reg := startRegistry(t, map[string]v1.Image{"app:v1": makeImage(t, "x", layers...)})
	root := filepath.Join(diskDir(t), "store")
	whole := 0
	for i := range 30 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledDuringPull$")
		cmd.Env = append(os.Environ(), killEnv+"="+root+" "+reg.host+"/app:v1")
		ready, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		io.ReadFull(ready, make([]byte, 1)) // it has opened the store
		<-time.After(time.Duration(rand.Int64N(int64(60 * time.Millisecond))))
		cmd.Process.Kill()
		io.Copy(io.Discard, ready)
		cmd.Wait()
		s, err := Open(root)
		if err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
		images, err := s.List()
		if err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
		if left, err := filepath.Glob(filepath.Join(root, "tmp", "*")); err != nil || len(left) > 0 {
			t.Errorf("after kill %d: %q is left, %v", i, left, err)
		}
		if len(images) == 0 {
			if dirs := layerDirs(t, s); len(dirs) != 0 {
				t.Errorf("after kill %d: layers without an image: %q", i, dirs)
			}
			continue
		}
		whole++
		checkWhole(t, s, reg.host+"/app:v1")
		if err := s.Remove(images[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 30 pulls ended before they were killed", whole)
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newTestService(t, s).PullImage(t.Context(), spec(reg.host+"/app:v1"), nil, nil); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, s, reg.host+"/app:v1")
}

func checkWhole(t *testing.T, s *Store, ref string) {
	t.Helper()
	root := mounted(t, s, ref)
	for i := range 4 {
		for j := range 50 {
			if got := readFile(t, filepath.Join(root, fmt.Sprintf("d%d/f%d", i, j))); got != strings.Repeat(fmt.Sprintf("%d-%d ", i, j), 2000) {
				t.Errorf("d%d/f%d has %d bytes of other content", i, j, len(got))
			}
		}
	}
}

// slowly has a pull take long enough to be killed in the middle of it.
type slowly struct{}

func (slowly) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil {
		resp.Body = slowBody{resp.Body}
	}
	return resp, err
}

type slowBody struct{ io.ReadCloser }

func (b slowBody) Read(p []byte) (int, error) {
	<-time.After(2 * time.Millisecond)
	return b.ReadCloser.Read(p[:min(len(p), 2000)])
}

func pullInChild(t *testing.T, job string) {
	root, ref, _ := strings.Cut(job, " ")
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	svc := newTestServiceWith(t, s, slowly{})
	os.Stdout.WriteString("!")
	if _, err := svc.PullImage(context.Background(), spec(ref), nil, nil); err != nil {
		t.Fatal(err)
	}
}
