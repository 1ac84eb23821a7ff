package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"minato/internal/ingress/table"
)

// echoService answers each message of a stream with its own, at once.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Fail", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in wrapperspb.StringValue
		if err := dec(&in); err != nil {
			return nil, err
		}
		md, _ := metadata.FromIncomingContext(ctx)
		return nil, status.Errorf(codes.FailedPrecondition, "no %s from %v", in.Value, md.Get("x-real-ip"))
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			var in wrapperspb.StringValue
			if err := s.RecvMsg(&in); err == io.EOF {
				s.SetTrailer(metadata.Pairs("x-end", "yes"))
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(wrapperspb.String("re " + in.Value)); err != nil {
				return err
			}
		}
	}}},
}

func grpcBackend(t testing.TB, opts ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&echoService, nil)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// TestGRPC: unary calls with their status in trailers, and streams in both directions at once, over h2c and TLS.
func TestGRPC(t *testing.T) {
	r := start(t, tableOf(settings(),
		ingress("a", loc(func(l *table.Location) { l.Protocol = table.ProtocolGRPC }), "a.example / plain"),
		ingress("b", loc(func(l *table.Location) { l.Protocol = table.ProtocolGRPCS }), "b.example / tls"),
	), nil)
	r.SetDefaultCertificate(selfSigned(t, "default.example"))
	r.backend("plain", grpcBackend(t))
	r.backend("tls", grpcBackend(t, grpc.Creds(credentials.NewServerTLSFromCert(selfSigned(t, "backend")))))
	for _, host := range []string{"a.example", "b.example"} {
		conn, err := grpc.NewClient("passthrough:///"+r.https, grpc.WithAuthority(host),
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err = conn.Invoke(ctx, "/test.Echo/Fail", wrapperspb.String("answer"), &wrapperspb.StringValue{})
		if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "no answer from [127.0.0.1]" {
			t.Errorf("%s: %v", host, err)
		}
		if err := conn.Invoke(ctx, "/test.Echo/None", wrapperspb.String(""), &wrapperspb.StringValue{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", host, err)
		}
		for range 3 {
			s, err := conn.NewStream(ctx, &echoService.Streams[0], "/test.Echo/Talk")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				var out wrapperspb.StringValue
				if err := s.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
				if err := s.RecvMsg(&out); err != nil || out.Value != fmt.Sprintf("re %d", i) {
					t.Fatalf("%s: %q %v", host, out.Value, err)
				}
			}
			_ = s.CloseSend()
			if err := s.RecvMsg(&wrapperspb.StringValue{}); err != io.EOF || len(s.Trailer().Get("x-end")) == 0 {
				t.Errorf("%s: the stream's end: %v %v", host, err, s.Trailer())
			}
		}
	}
	r.backend("plain", refusing(t))
	conn, err := grpc.NewClient("passthrough:///"+r.https, grpc.WithAuthority("a.example"),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Invoke(t.Context(), "/test.Echo/Fail", wrapperspb.String(""), &wrapperspb.StringValue{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without an endpoint: %v", err)
	}
}

// TestGRPCSilence: a stream of gRPC whose client is silent for longer than a body may be is not ended for it.
func TestGRPCSilence(t *testing.T) {
	s := settings()
	s.BodyTimeout = time.Second
	r := start(t, tableOf(s, ingress("a", loc(func(l *table.Location) { l.Protocol = table.ProtocolGRPC }), "a.example / plain")), nil)
	r.SetDefaultCertificate(selfSigned(t, "default.example"))
	r.backend("plain", grpcBackend(t))
	conn, err := grpc.NewClient("passthrough:///"+r.https, grpc.WithAuthority("a.example"),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &echoService.Streams[0], "/test.Echo/Talk")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		var out wrapperspb.StringValue
		if err := stream.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&out); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		r.watches.each(func(w *watch) {
			if w.client != nil {
				w.client.lookForEnd(clock() + int64(3*time.Second))
			}
		})
	}
}

// frames starts an endpoint of HTTP/2 that speaks frames; each gets those of a connection.
func frames(t testing.TB, each func(fr *http2.Framer, f http2.Frame)) string {
	t.Helper()
	return rawBackend(t, func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		fr := http2.NewFramer(c, c)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			each(fr, f)
		}
	})
}

// TestGRPCRefusedBody: a request whose body was sent as it came is not sent again without it, though the endpoint has not
// looked at it.
func TestGRPCRefusedBody(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", loc(func(l *table.Location) { l.Protocol = table.ProtocolGRPC }), "a.example / plain")), nil)
	r.SetDefaultCertificate(selfSigned(t, "default.example"))
	var requests atomic.Int64
	begun := make(chan struct{}, 10)
	refuse := func() string {
		return frames(t, func(fr *http2.Framer, f http2.Frame) {
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				requests.Add(1)
				begun <- struct{}{}
			case *http2.DataFrame:
				if f.StreamEnded() {
					_ = fr.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream)
				}
			}
		})
	}
	r.backend("plain", refuse(), refuse())
	body, send := io.Pipe()
	go func() {
		<-begun
		_, _ = send.Write([]byte("message"))
		send.Close()
	}()
	resp, err := r.h2Client(nil).Post("https://a.example/", "application/grpc", body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := requests.Load(); resp.StatusCode != 502 || n != 1 {
		t.Errorf("status %d after %d requests", resp.StatusCode, n)
	}
}
