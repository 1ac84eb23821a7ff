package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// proxy joins each connection to its first listener with one to its second, both of
// which others open: who has the driver elsewhere, and can reach only a port of this
// Pod, serves the socket here.
type proxy struct{ front, back net.Listener }

func (p *proxy) serve(ctx context.Context) error {
	go func() { <-ctx.Done(); p.front.Close(); p.back.Close() }()
	var group sync.WaitGroup
	defer group.Wait()
	for {
		a, err := p.front.Accept()
		if err != nil {
			return ignoreClosed(err)
		}
		b, err := p.back.Accept()
		if err != nil {
			a.Close()
			return ignoreClosed(err)
		}
		group.Go(func() { join(ctx, a, b) })
	}
}

// join copies both ways until one side ends.
func join(ctx context.Context, a, b net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			cancel()
		})
	}
	both.Wait()
	a.Close()
	b.Close()
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
