package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// How long hold waits for a connection, and before it tries again after one was
// closed or refused.
const (
	holdTimeout = 5 * time.Second
	holdPause   = 500 * time.Millisecond
)

// hold keeps connections open that say nothing, and opens each again that is
// closed. Every second it prints how many each address has let it have.
func hold(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("hold", flag.ContinueOnError)
	count := flags.Int("n", 1000, "how many connections to each address")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errUsage
	}
	var holding sync.WaitGroup
	defer holding.Wait()
	held := make([]atomic.Int64, flags.NArg())
	for i, address := range flags.Args() {
		for range *count {
			holding.Go(func() { holdOne(ctx, address, &held[i]) })
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for i, address := range flags.Args() {
			fmt.Fprintf(out, "%s: %d of %d connections are open\n", address, held[i].Load(), *count)
		}
	}
}

func holdOne(ctx context.Context, address string, held *atomic.Int64) {
	dialer := net.Dialer{Timeout: holdTimeout}
	for ctx.Err() == nil {
		if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
			held.Add(1)
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			io.Copy(io.Discard, conn) // until the server closes it
			stop()
			conn.Close()
			held.Add(-1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(holdPause):
		}
	}
}
