package proxy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"io"
	"net"
	"runtime"
	"testing"
)

// BenchmarkSign measures what bounds full TLS handshakes: the signature of the server's key, as TLS 1.3 has it made, and, of RSA, how
// much of that is the check of the result. `openssl speed rsa2048 ecdsap256` tells the same of OpenSSL.
func BenchmarkSign(b *testing.B) {
	digest := sha256.Sum256([]byte("a handshake"))
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sign := func(name string, key crypto.Signer, opts crypto.SignerOpts) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := key.Sign(rand.Reader, digest[:], opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	sign("RSA2048", rsaKey, pss)
	sign("P256", ecKey, crypto.SHA256)
	signature, err := rsaKey.Sign(rand.Reader, digest[:], pss)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("RSA2048check", func(b *testing.B) {
		for b.Loop() {
			if err := rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA256, digest[:], signature, pss); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// tiny is a backend that answers whatever has come.
func tiny(answer []byte) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			for range bytes.Count(buf[:n], headEnd) {
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}
	}
}

var smallAnswer = []byte("HTTP/1.1 200 OK\r\nServer: tiny\r\nDate: Fri, 27 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!")

var smallRequest = []byte("GET /plain/path HTTP/1.1\r\nHost: a.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")

// BenchmarkSmall is a small request on a kept connection, with client, proxy and backend in one process.
func BenchmarkSmall(b *testing.B) {
	r := start(b, tableOf(settings(), ingress("a", nil, "a.example / web")), func(c *Config) { c.Observer = nil })
	r.backend("web", rawBackend(b, tiny(smallAnswer)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", r.http)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 4<<10)
		for pb.Next() {
			if _, err := c.Write(smallRequest); err != nil {
				b.Error(err)
				return
			}
			n := 0
			for !bytes.HasSuffix(buf[:n], []byte("World!")) {
				m, err := c.Read(buf[n:])
				if err != nil {
					b.Error(err)
					return
				}
				n += m
			}
		}
	})
}

// TestHotPathAllocatesNothing: a small request on a kept connection allocates nothing, with its line in the access log and
// its metrics counted.
func TestHotPathAllocatesNothing(t *testing.T) {
	if racing {
		t.Skip("pools keep nothing under the race detector")
	}
	log, err := NewAccessLog(AccessLogConfig{Writer: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), func(c *Config) { c.Observer = Observers{log, NewMetrics(MetricsConfig{})} })
	r.backend("web", rawBackend(t, tiny(smallAnswer)))
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 4<<10)
	ask := func(n int) {
		for range n {
			if _, err := c.Write(smallRequest); err != nil {
				t.Fatal(err)
			}
			for got := 0; !bytes.HasSuffix(buf[:got], []byte("World!")); {
				m, err := c.Read(buf[got:])
				if err != nil {
					t.Fatal(err)
				}
				got += m
			}
			_ = log.flush()
		}
	}
	ask(100)
	const n = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ask(n)
	runtime.ReadMemStats(&after)
	// The runtime itself, and pools that a collection has emptied, allocate a little now and then.
	if each := float64(after.Mallocs-before.Mallocs) / n; each > 0.5 {
		t.Errorf("%.2f allocations for each request", each)
	}
}
