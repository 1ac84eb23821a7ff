package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestHold(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if i == 0 {
				conn.Close() // it comes again
				continue
			}
			defer conn.Close()
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	var out lockedBuffer
	done := make(chan error, 1)
	go func() { done <- hold(ctx, []string{"-n", "3", l.Addr().String()}, &out) }()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "3 of 3 connections are open"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("printed %s", out.String())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := hold(t.Context(), nil, &out); !errors.Is(err, errUsage) {
		t.Errorf("without an address: %v", err)
	}
}
