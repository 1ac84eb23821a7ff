package criserver

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// idLength is how long the IDs of containers, sandboxes and images are.
const idLength = 64

// completeIDs puts whole IDs in the place of the beginnings of such in a request.
// crictl prints the first 13 characters of an ID and passes on what it is given;
// and to stop or to remove what there is not is a success.
func (s *Server) completeIDs(ctx context.Context, req any) error {
	switch req := req.(type) {
	case *runtimeapi.ListContainersRequest:
		return s.completeIn(ctx, req.GetFilter().ProtoReflect(), "id", "pod_sandbox_id")
	case *runtimeapi.ListContainerStatsRequest:
		return s.completeIn(ctx, req.GetFilter().ProtoReflect(), "id", "pod_sandbox_id")
	case *runtimeapi.ListPodSandboxRequest:
		return s.completeIn(ctx, req.GetFilter().ProtoReflect(), "", "id")
	case *runtimeapi.ListPodSandboxStatsRequest:
		return s.completeIn(ctx, req.GetFilter().ProtoReflect(), "", "id")
	case *runtimeapi.ImageStatusRequest:
		return s.completeImage(ctx, req.GetImage())
	case *runtimeapi.RemoveImageRequest:
		return s.completeImage(ctx, req.GetImage())
	case proto.Message:
		return s.completeIn(ctx, req.ProtoReflect(), "container_id", "pod_sandbox_id")
	}
	return nil
}

// completeIn completes the fields of a message that name a container and a
// sandbox.
func (s *Server) completeIn(ctx context.Context, m protoreflect.Message, container, sandbox protoreflect.Name) error {
	if !m.IsValid() {
		return nil
	}
	for field, list := range map[protoreflect.Name]func(context.Context) ([]string, error){container: s.containerIDs, sandbox: s.sandboxIDs} {
		at := m.Descriptor().Fields().ByName(field)
		if at == nil {
			continue
		}
		short := m.Get(at).String()
		if short == "" || len(short) >= idLength {
			continue
		}
		all, err := list(ctx)
		if err != nil {
			return err
		}
		whole, err := complete(short, all)
		if err != nil {
			return err
		}
		m.Set(at, protoreflect.ValueOfString(whole))
	}
	return nil
}

// completeImage completes the ID of an image, where it is not a name of one.
func (s *Server) completeImage(ctx context.Context, spec *runtimeapi.ImageSpec) error {
	short := strings.TrimPrefix(spec.GetImage(), "sha256:")
	if short == "" || len(short) >= idLength || strings.Trim(short, "0123456789abcdef") != "" {
		return nil
	}
	if found, err := s.cfg.Images.ImageStatus(ctx, spec, false); err != nil || found.GetImage() != nil {
		return err
	}
	images, err := s.cfg.Images.ListImages(ctx, nil)
	if err != nil {
		return err
	}
	var all []string
	for _, img := range images {
		all = append(all, img.GetId())
	}
	whole, err := complete("sha256:"+short, all)
	if err == nil && whole != "sha256:"+short {
		spec.Image = whole
	}
	return err
}

// complete returns the only ID that begins with short; short itself where there
// is none, for the runtime to say so.
func complete(short string, all []string) (string, error) {
	found := ""
	for _, id := range all {
		switch {
		case id == short:
			return id, nil
		case !strings.HasPrefix(id, short):
		case found != "":
			return "", status.Errorf(codes.InvalidArgument, "several IDs begin with %s, such as %s and %s; give more of it", short, found, id)
		default:
			found = id
		}
	}
	if found == "" {
		return short, nil
	}
	return found, nil
}

func (s *Server) containerIDs(ctx context.Context) ([]string, error) {
	list, err := s.cfg.Runtime.ListContainers(ctx, nil)
	var ids []string
	for _, c := range list {
		ids = append(ids, c.GetId())
	}
	return ids, err
}

func (s *Server) sandboxIDs(ctx context.Context) ([]string, error) {
	list, err := s.cfg.Runtime.ListPodSandbox(ctx, nil)
	var ids []string
	for _, sb := range list {
		ids = append(ids, sb.GetId())
	}
	return ids, err
}
