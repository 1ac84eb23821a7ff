package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// cluster is the one that the suite runs against.
type cluster struct {
	options
	client kubernetes.Interface
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.out, "kubeconfig") }

// start brings up a cluster with the image.
func (c *cluster) start(ctx context.Context, image string) error {
	if err := c.remove(ctx); err != nil { // what a killed run left
		return err
	}
	progress("start cluster %s with %d nodes", c.name, c.nodes)
	err := c.do(ctx, "up", "--name", c.name, "--nodes", strconv.Itoa(c.nodes), "--ephemeral", "--lan-cidr", "172.28.0.0/16", "--pod-cidr", "10.241.0.0/16",
		"--service-cidr", "10.93.0.0/16", "--api-port", "8444", "--kubeconfig", c.kubeconfig())
	if err != nil {
		return err
	}
	if err := c.do(ctx, "image", "load", "--name", c.name, image); err != nil {
		return err
	}
	return c.configure(ctx)
}

// configure has answers name a server, which the suite demands: as with ingress-nginx, they name none by default.
func (c *cluster) configure(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return err
	}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "minato-ingress"}, Data: map[string]string{"server-tokens": "true"}}
	if _, err := c.client.CoreV1().ConfigMaps(settings.Namespace).Create(ctx, settings, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("set up the Ingress: %w", err)
	}
	return nil
}

// statusTime is how long the suite waits for an Ingress's address. It waits all of it where there must be none.
const statusTime = 30 * time.Second

// runSuite returns an error if the suite could not be run; which scenarios failed is in the reports.
func (c *cluster) runSuite(ctx context.Context, s *suite) (err error) {
	if err := os.RemoveAll(s.reports); err != nil {
		return err
	}
	if err := os.MkdirAll(s.reports, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.out, "suite.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	progress("run the suite; what it prints goes to %s", log.Name())
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.program, "-test.timeout="+c.timeout.String(), "-ingress-class="+c.class, "-wait-time-for-ingress-status="+statusTime.String(),
		"-format=cucumber", "-output-directory="+s.reports, "-no-colors")
	tidied := make(chan error, 1)
	tidying, stop := context.WithCancel(ctx)
	go func() { tidied <- tidy(tidying, c.client) }()
	defer func() {
		stop()
		err = errors.Join(err, <-tidied)
	}()
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return nil // scenarios failed
	}
	return errors.Join(err, ctx.Err())
}

// remove deletes the cluster, and keeps the server's log.
func (c *cluster) remove(ctx context.Context) error {
	if log, err := os.ReadFile(filepath.Join("/var/lib/minato", c.name, "minato.log")); err == nil {
		if err := os.WriteFile(filepath.Join(c.out, "minato.log"), log, 0o600); err != nil {
			return err
		}
	}
	return c.do(ctx, "delete", "--ignore-not-found", "--name", c.name)
}

func (c *cluster) do(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, c.minato, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(c.minato), strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
