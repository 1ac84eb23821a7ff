package criserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"
	"k8s.io/cri-streaming/pkg/streaming"
	utilexec "k8s.io/utils/exec"

	"minato/internal/host"
	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
)

// fakeRuntime answers what the tests ask for; all else panics, as a fault of the
// runtime would.
type fakeRuntime struct{ cri.RuntimeService }

func (fakeRuntime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	state := runtimeapi.ContainerState_CONTAINER_RUNNING
	switch id {
	case "none":
		return nil, fmt.Errorf("container none: %w", oci.ErrNotFound)
	case "ended":
		state = runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{Id: id, State: state}}, nil
}

func (fakeRuntime) ExecSync(_ context.Context, _ string, cmd []string, _ time.Duration) ([]byte, []byte, error) {
	if cmd[0] == "hang" {
		return nil, nil, fmt.Errorf("it hangs: %w", context.DeadlineExceeded)
	}
	return []byte("out"), []byte("err"), utilexec.CodeExitError{Err: errors.New("exit"), Code: 7}
}

func (fakeRuntime) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	out := make([]*runtimeapi.Container, 2*pieceLength+1)
	for i := range out {
		out[i] = &runtimeapi.Container{Id: fmt.Sprint(i)}
	}
	return out, nil
}

func (fakeRuntime) GetContainerEvents(ctx context.Context, out chan *runtimeapi.ContainerEventResponse, _ func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	out <- &runtimeapi.ContainerEventResponse{ContainerId: "one"}
	<-ctx.Done()
	return ctx.Err()
}

type fakeImages struct{ cri.ImageManagerService }

func (fakeImages) PullImage(context.Context, *runtimeapi.ImageSpec, *runtimeapi.AuthConfig, *runtimeapi.PodSandboxConfig) (string, error) {
	return "", fmt.Errorf("pull: %w", crierrors.ErrRegistryUnavailable)
}

func (fakeImages) RemoveImage(context.Context, *runtimeapi.ImageSpec) error {
	return fmt.Errorf("image: %w", image.ErrNotFound)
}

func (fakeImages) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return []*runtimeapi.Image{{Id: "one", Spec: &runtimeapi.ImageSpec{Annotations: map[string]string{image.AccessAnnotation: "secret"}}}}, nil
}

type fakeStreams struct{ streaming.Runtime }

// connect serves the fakes, and returns a connection to them.
func connect(t *testing.T, ns host.Netns) (string, *grpc.ClientConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cri.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what a killed server leaves
		t.Fatal(err)
	}
	s, err := New(Config{Path: path, Runtime: fakeRuntime{}, Images: fakeImages{}, Streams: fakeStreams{}, Netns: ns, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return path, conn
}

func TestCodesOfErrors(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may use the socket")
	}
	path, conn := connect(t, host.Netns{})
	runtime, images := runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	ctx := t.Context()
	execOf := func(id string) error {
		_, err := runtime.Exec(ctx, &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"x"}, Stdout: true})
		return err
	}
	for what, test := range map[string]struct {
		call func() error
		code codes.Code
		text string
	}{
		"exec in no container":     {func() error { return execOf("none") }, codes.NotFound, "container none"},
		"exec in one that ended":   {func() error { return execOf("ended") }, codes.FailedPrecondition, "not running"},
		"exec without a container": {func() error { return execOf("") }, codes.InvalidArgument, "container_id"},
		"exec that works":          {func() error { return execOf("runs") }, codes.OK, ""},
		"a command that hangs": {func() error {
			_, err := runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: "runs", Cmd: []string{"hang"}})
			return err
		}, codes.DeadlineExceeded, "it hangs"},
		"a registry that does not answer": {func() error {
			_, err := images.PullImage(ctx, &runtimeapi.PullImageRequest{})
			return err
		}, codes.Unknown, "RegistryUnavailable: pull"},
		"an image that is gone": {func() error {
			_, err := images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{})
			return err
		}, codes.OK, ""},
		"a panic": {func() error {
			_, err := runtime.Status(ctx, &runtimeapi.StatusRequest{})
			return err
		}, codes.Internal, "panicked"},
	} {
		err := test.call()
		if status.Code(err) != test.code || !strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%s: %v, want %v with %q", what, err, test.code, test.text)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v; want one for root alone", info, err)
	}
}

func TestAnswers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may use the socket")
	}
	_, conn := connect(t, host.Netns{})
	runtime, images := runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	exit, err := runtime.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: "runs", Cmd: []string{"x"}})
	if err != nil || exit.ExitCode != 7 || string(exit.Stdout) != "out" || string(exit.Stderr) != "err" {
		t.Errorf("a command that fails: %v, %v", exit, err)
	}
	list, err := images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{})
	if err != nil || len(list.Images) != 1 || len(list.Images[0].Spec.Annotations) != 0 {
		t.Errorf("images: %v, %v; want one without the store's own annotation", list, err)
	}
	containers, err := runtime.StreamContainers(t.Context(), &runtimeapi.StreamContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	pieces, got := 0, 0
	for {
		piece, err := containers.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pieces, got = pieces+1, got+len(piece.Containers)
	}
	if pieces != 3 || got != 2*pieceLength+1 {
		t.Errorf("%d containers in %d pieces", got, pieces)
	}
	events, err := runtime.GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := events.Recv(); err != nil || e.ContainerId != "one" {
		t.Errorf("event %v, %v", e, err)
	}
}

// A client finds its streams on the loopback interface that it sees.
func TestStreamsAreNearTheClient(t *testing.T) {
	s := &streamServers{node: inode{1, 2}, inNode: &streamServer{}, machine: &streamServer{}}
	for from, want := range map[inode]*streamServer{{1, 2}: s.inNode, {1, 3}: s.machine, {}: s.machine} {
		ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: client{netns: from}})
		if s.near(ctx) != streaming.Server(want) {
			t.Errorf("a client in %v is sent elsewhere", from)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	whole := Config{Path: "/run/x.sock", Runtime: fakeRuntime{}, Images: fakeImages{}, Streams: fakeStreams{}}
	if _, err := New(whole); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Path = "x.sock" }, func(c *Config) { c.Runtime = nil },
		func(c *Config) { c.Images = nil }, func(c *Config) { c.Streams = nil },
	} {
		c := whole
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
