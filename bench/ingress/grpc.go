package main

import (
	"context"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
)

// playGRPC answers calls of gRPC with an empty message, on connections that begin with HTTP/2.
func playGRPC(_ context.Context, args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a client that has gone gets no answer
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		h.Set("Trailer", "Grpc-Status")
		_, _ = w.Write(make([]byte, 5))
		h.Set("Grpc-Status", "0")
	})
	var server http2.Server
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go server.ServeConn(c, &http2.ServeConnOpts{Handler: h})
	}
}
