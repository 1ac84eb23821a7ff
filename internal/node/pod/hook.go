package pod

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"

	"minato/internal/node/probe"
)

type hookTarget struct {
	container *v1.Container
	id        string
	podIPs    []string
}

// hookTimeout bounds one HTTP request of a hook.
const hookTimeout = 30 * time.Second

// runHook runs a lifecycle hook until it is over or ctx ends.
func (w *worker) runHook(ctx context.Context, h *v1.LifecycleHandler, t hookTarget) error {
	switch {
	case h.Exec != nil:
		_, _, err := w.m.cfg.Runtime.ExecSync(ctx, t.id, h.Exec.Command, 0)
		return err
	case h.HTTPGet != nil:
		return w.httpHook(ctx, h.HTTPGet, t)
	case h.Sleep != nil:
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.m.cfg.Clock.After(time.Duration(h.Sleep.Seconds) * time.Second):
			return nil
		}
	}
	return fmt.Errorf("the hook of container %s names no handler that this node knows", t.container.Name)
}

func (w *worker) httpHook(ctx context.Context, action *v1.HTTPGetAction, t hookTarget) error {
	host := action.Host
	if host == "" && len(t.podIPs) > 0 {
		host = t.podIPs[0]
	}
	port := 80
	if action.Port.String() != "" && action.Port.String() != "0" {
		var err error
		if port, err = probe.ResolvePort(action.Port, t.container); err != nil {
			return err
		}
	}
	scheme := strings.ToLower(string(action.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	u, err := url.Parse(action.Path)
	if err != nil {
		u = &url.URL{Path: action.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-lifecycle/1.36")
	for _, hdr := range action.HTTPHeaders {
		if strings.EqualFold(hdr.Name, "Host") {
			req.Host = hdr.Value
		}
		req.Header.Add(hdr.Name, hdr.Value)
	}
	client := &http.Client{Timeout: hookTimeout, Transport: &http.Transport{
		DialContext:       w.m.cfg.Dial,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // as for probes
	}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 10*1024)); err != nil {
		return err
	}
	return nil
}
