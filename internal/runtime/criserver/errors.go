package criserver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	crierrors "k8s.io/cri-api/pkg/errors"

	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
)

// statusOf gives an error the code by which clients tell what is wrong.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	code := codes.Unknown
	switch {
	case errors.Is(err, oci.ErrNotFound), errors.Is(err, image.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, oci.ErrNotRunning), errors.Is(err, image.ErrInUse):
		code = codes.FailedPrecondition
	case errors.Is(err, oci.ErrUnsupported):
		// Unimplemented would say of a whole method that it is not there.
		code = codes.InvalidArgument
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, crierrors.ErrRegistryUnavailable):
		// The kubelet knows it by the word with which the text begins.
		return status.Errorf(codes.Unknown, "%v: %v", crierrors.ErrRegistryUnavailable, err)
	}
	return status.Error(code, err.Error())
}

// unary completes the IDs of a request, and keeps a panic inside of the one that
// caused it.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer s.caught(info.FullMethod, &err)
	if err := s.completeIDs(ctx, req); err != nil {
		return nil, statusOf(err)
	}
	resp, err = handle(ctx, req)
	return resp, statusOf(err)
}

func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.caught(info.FullMethod, &err)
	return statusOf(handle(srv, stream))
}

func (s *Server) caught(method string, err *error) {
	if v := recover(); v != nil {
		s.cfg.Logger.Error("a request to the CRI's socket panicked", "method", method, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "%s panicked: %v; the log has the stack", method, v)
	}
}
