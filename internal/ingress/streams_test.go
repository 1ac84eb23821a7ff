package ingress

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A stream keeps its socket, and with it the port that the Service names, while other streams come and go; one that a new server
// has opened is served, too.
func TestStreamsKeepTheirSockets(t *testing.T) {
	t.Parallel()
	w, at, socket, build := newWorld(t), address(), filepath.Join(t.TempDir(), "s"), buildOf(t, "1")
	endHelper(t, build)
	one, _ := backend(t, "one")
	two, _ := backend(t, "two")
	w.service("one", one)
	w.service("two", two)
	write := func(pairs ...string) {
		m := &corev1.ConfigMap{ObjectMeta: metaOf(Name + "-tcp"), Data: map[string]string{}}
		m.Namespace = Namespace
		for i := 0; i < len(pairs); i += 2 {
			m.Data[pairs[i]] = pairs[i+1]
		}
		api := w.client.CoreV1().ConfigMaps(Namespace)
		if _, err := api.Get(t.Context(), m.Name, metav1.GetOptions{}); err != nil {
			w.must(api.Create(t.Context(), m, metav1.CreateOptions{}))
			return
		}
		w.must(api.Update(t.Context(), m, metav1.UpdateOptions{}))
	}
	write("9000", "default/one:80")
	o, stopObjects := w.objects()
	p, stop := process(t, o, socket, build, at)
	bound := func(want int) map[uint16]uint16 {
		t.Helper()
		var out map[uint16]uint16
		until(t, "streams have sockets", func() error {
			s, _ := p.State()
			out = map[uint16]uint16{}
			for _, x := range s.Streams {
				if x.Bound[at] != 0 {
					out[x.Port] = x.Bound[at]
				}
			}
			if len(out) != want || !s.Ready {
				return fmt.Errorf("%d of %d: %+v", len(out), want, s)
			}
			return nil
		})
		return out
	}
	ask := func(port uint16, want string) error {
		c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := c.Get(fmt.Sprintf("http://%s/", netip.AddrPortFrom(at, port)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); string(b) != want || err != nil {
			return fmt.Errorf("%q %w", b, err)
		}
		return nil
	}
	serves := func(port uint16, want string) {
		t.Helper()
		until(t, "the stream to "+want+" is served", func() error { return ask(port, want) })
	}
	first := bound(1)[9000]
	serves(first, "one")
	for range 3 {
		write("9000", "default/one:80", "9001", "default/two:80")
		both := bound(2)
		if both[9000] != first {
			t.Fatalf("the stream has moved from port %d to %d", first, both[9000])
		}
		if err := ask(first, "one"); err != nil {
			t.Errorf("after another stream has come: %v", err)
		}
		serves(both[9001], "two")
		write("9000", "default/one:80")
		if now := bound(1)[9000]; now != first {
			t.Fatalf("the stream has moved from port %d to %d", first, now)
		}
		if err := ask(first, "one"); err != nil {
			t.Errorf("after another stream has gone: %v", err)
		}
	}
	stop()
	stopObjects()
	if err := ask(first, "one"); err != nil {
		t.Errorf("without a server: %v", err)
	}
	o, _ = w.objects()
	p, _ = process(t, o, socket, build, at)
	next := bound(1)[9000]
	serves(next, "one")
	if next != first {
		if err := ask(first, "one"); err != nil {
			t.Errorf("at the port before: %v", err)
		}
	}
}
