package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// clusterCA is where a Pod finds the authority behind https://kubernetes.default.
const clusterCA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

// ask runs one question as often as told; each is a connection of its own, so
// that each is steered by itself.
func ask(ctx context.Context, name string, args []string, one func(context.Context, string) (string, error)) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	count := flags.Int("n", 1, "how often to ask")
	timeout := flags.Duration("timeout", 5*time.Second, "for each answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errUsage
	}
	for range *count {
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		text, err := one(ctx, flags.Arg(0))
		cancel()
		fmt.Print(text)
		if err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, url string) (string, error) {
	roots, err := trustedRoots()
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy:             nil, // where the traffic goes is the very thing asked
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode >= 400 {
		return string(body), fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return string(body), nil
}

// trustedRoots is the cluster's authority; nil, the system's, outside of a Pod.
func trustedRoots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(clusterCA)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", clusterCA)
	}
	return pool, nil
}

func datagram(ctx context.Context, address string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if until, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(until); err != nil {
			return "", err
		}
	}
	if _, err := conn.Write([]byte("who are you?")); err != nil {
		return "", err
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	if err != nil {
		return "", fmt.Errorf("%s did not answer: %w", address, err)
	}
	return string(buf[:n]), nil
}
