package criserver

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// someRuntime has two containers, in two sandboxes.
type someRuntime struct{ cri.RuntimeService }

func id(begin string) string { return begin + strings.Repeat("0", idLength-len(begin)) }

func (someRuntime) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	return []*runtimeapi.Container{{Id: id("ab1")}, {Id: id("ab2")}}, nil
}

func (someRuntime) ListPodSandbox(context.Context, *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	return []*runtimeapi.PodSandbox{{Id: id("cd1")}, {Id: id("cd2")}}, nil
}

// someImages has one image, which has the name "ef".
type someImages struct{ cri.ImageManagerService }

func (someImages) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return []*runtimeapi.Image{{Id: "sha256:" + id("123")}}, nil
}

func (someImages) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	if spec.GetImage() == "ef" {
		return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{}}, nil
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

// crictl prints the beginnings of IDs, and people give them back to it.
func TestBeginningsOfIDs(t *testing.T) {
	s := &Server{cfg: Config{Runtime: someRuntime{}, Images: someImages{}}}
	image := func(name string) *runtimeapi.ImageSpec { return &runtimeapi.ImageSpec{Image: name} }
	for _, test := range []struct{ given, want proto.Message }{
		{&runtimeapi.StopContainerRequest{ContainerId: "ab1"}, &runtimeapi.StopContainerRequest{ContainerId: id("ab1")}},
		{&runtimeapi.RemoveContainerRequest{ContainerId: id("ab1")}, &runtimeapi.RemoveContainerRequest{ContainerId: id("ab1")}},
		{&runtimeapi.StopContainerRequest{ContainerId: "ff"}, &runtimeapi.StopContainerRequest{ContainerId: "ff"}},
		{&runtimeapi.StopContainerRequest{}, &runtimeapi.StopContainerRequest{}},
		{&runtimeapi.CreateContainerRequest{PodSandboxId: "cd2"}, &runtimeapi.CreateContainerRequest{PodSandboxId: id("cd2")}},
		{&runtimeapi.ListContainersRequest{}, &runtimeapi.ListContainersRequest{}},
		{&runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: "ab2", PodSandboxId: "cd1"}},
			&runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: id("ab2"), PodSandboxId: id("cd1")}}},
		{&runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{Id: "cd1"}},
			&runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{Id: id("cd1")}}},
		{&runtimeapi.ListPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{Id: "cd1"}},
			&runtimeapi.ListPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{Id: id("cd1")}}},
		{&runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{Id: "ab1"}},
			&runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{Id: id("ab1")}}},
		{&runtimeapi.RemoveImageRequest{Image: image("12")}, &runtimeapi.RemoveImageRequest{Image: image("sha256:" + id("123"))}},
		{&runtimeapi.ImageStatusRequest{Image: image("sha256:123")}, &runtimeapi.ImageStatusRequest{Image: image("sha256:" + id("123"))}},
		{&runtimeapi.RemoveImageRequest{Image: image("ef")}, &runtimeapi.RemoveImageRequest{Image: image("ef")}},
		{&runtimeapi.RemoveImageRequest{Image: image("ee")}, &runtimeapi.RemoveImageRequest{Image: image("ee")}},
		{&runtimeapi.RemoveImageRequest{Image: image("123:v1")}, &runtimeapi.RemoveImageRequest{Image: image("123:v1")}},
	} {
		before := proto.Clone(test.given)
		if err := s.completeIDs(t.Context(), test.given); err != nil || !proto.Equal(test.given, test.want) {
			t.Errorf("%v became %v, %v; want %v", before, test.given, err, test.want)
		}
	}
	err := s.completeIDs(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: "ab"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), id("ab2")) {
		t.Errorf("a beginning of two: %v", err)
	}
}
