package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"minato/bench/lab"
)

// handshakeOrder is what a process that makes handshakes is asked for.
type handshakeOrder struct {
	Address, Name string
	For           time.Duration
	Workers       int
	Resume        bool
}

// playHandshakes makes connections with TLS, with one request on each, and prints a sample.
func playHandshakes(ctx context.Context, args []string) error {
	var o handshakeOrder
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	var mu sync.Mutex
	var took []float64
	var wrong atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range o.Workers {
		all.Go(func() {
			cfg := &tls.Config{ServerName: o.Name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: sameCurve()}
			if o.Resume {
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				_, _ = shake(o, cfg) // the first one cannot be resumed
			}
			var own []float64
			for ctx.Err() == nil {
				from := time.Now()
				resumed, err := shake(o, cfg)
				if err != nil || resumed != o.Resume {
					if wrong.Add(1) == 1 {
						fmt.Fprintf(os.Stderr, "a handshake, resumed: %v, error: %v\n", resumed, err)
					}
					continue
				}
				own = append(own, float64(time.Since(from).Microseconds()))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
		})
	}
	all.Wait()
	s := sample{
		Done: len(took), Seconds: time.Since(began).Seconds(), Errors: int(wrong.Load()),
		P50: lab.Quantile(took, 0.5), P99: lab.Quantile(took, 0.99), P999: lab.Quantile(took, 0.999),
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

func shake(o handshakeOrder, cfg *tls.Config) (resumed bool, err error) {
	raw, err := net.DialTimeout("tcp", o.Address, 5*time.Second)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second)) // a new socket takes one
	c := tls.Client(raw, cfg)
	if err := c.Handshake(); err != nil {
		return false, err
	}
	// Tickets come with the answer.
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", o.Name); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the answer is %s", resp.Status)
	}
	return c.ConnectionState().DidResume, nil
}

// sameCurve has all proxies do the same: not all of them know the exchange of keys that is safe from quantum computers,
// which those of Go would choose.
func sameCurve() []tls.CurveID { return []tls.CurveID{tls.X25519} }
