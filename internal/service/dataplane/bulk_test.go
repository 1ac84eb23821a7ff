package dataplane

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// TestBulk moves data in segmentation-offloaded packets both ways, and UDP datagrams in fragments.
func TestBulk(t *testing.T) { eachFamily(t, testBulk) }

func testBulk(t *testing.T, fam family) {
	w := newWorld(t)
	w.inside(w.lan, outsideRoute)
	const size = 8 << 20
	for _, s := range []struct {
		ns   host.Netns
		name string
		ip   string
	}{{w.p1, "p1", fam.p1}, {w.p2, "p2", fam.p2}, {w.n1, "n1", fam.n1}} {
		w.serveTCP(s.ns, s.name, s.ip+":8080")
		w.serveUDP(s.ns, s.name, s.ip+":8080")
		b := back(s.ip + ":8080")
		w.apply(clusterIP("tcp", fam.vip(1), 80, corev1.ProtocolTCP, b), clusterIP("udp", fam.vip(1), 80, corev1.ProtocolUDP, b))
		for from, ns := range map[string]host.Netns{"pod": w.q1, "node": w.n1, "outside": w.lan} {
			if err := bulk(ns, fam.vip(1)+":80", size); err != nil {
				t.Errorf("%s to %s: %v", from, s.name, err)
			}
			if err := datagram(ns, fam.vip(1)+":80", 5000); err != nil {
				t.Errorf("%s to %s: datagram in fragments: %v", from, s.name, err)
			}
		}
	}
	if t.Failed() {
		t.Log(w.dp.Dump())
	}
}

func bulk(ns host.Netns, addr string, size int) error {
	c, err := ns.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil {
		return err
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	errc := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		errc <- err
	}()
	got := make([]byte, size)
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return errors.New("data changed on the way")
	}
	return <-errc
}

func datagram(ns host.Netns, addr string, size int) error {
	c, err := ns.DialContext(context.Background(), "udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := c.Write(make([]byte, size)); err != nil {
		return err
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if f := strings.Fields(string(buf[:n])); f[len(f)-1] != fmt.Sprint(size) {
		return fmt.Errorf("answer %q", buf[:n])
	}
	return nil
}
