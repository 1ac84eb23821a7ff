package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcstatus "google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	utilexec "k8s.io/utils/exec"
)

// outcome is what one attempt says.
type outcome int

const (
	failure outcome = iota
	success
	warning
	// unknown says nothing: the probe could not be made. It counts for nothing, so
	// that a container runtime that is down costs no container its life.
	unknown
)

// maxOutput bounds what a failing command may add to an event.
const maxOutput = 10 * 1024

// attempt runs a probe once.
func (m *Manager) attempt(ctx context.Context, t *Target, p *v1.Probe) (outcome, string) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	if p.Exec != nil { // the runtime keeps the time: one that is late is not the command's fault
		return m.exec(ctx, t, p.Exec.Command, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.HTTPGet != nil:
		return m.httpGet(ctx, t, p.HTTPGet, timeout)
	case p.TCPSocket != nil:
		return m.tcp(ctx, t, p.TCPSocket)
	case p.GRPC != nil:
		return m.grpc(ctx, t, p.GRPC, timeout)
	}
	return unknown, fmt.Sprintf("missing probe handler for container %s", t.Container.Name)
}

func (m *Manager) exec(ctx context.Context, t *Target, cmd []string, timeout time.Duration) (outcome, string) {
	stdout, stderr, err := m.cfg.Exec.ExecSync(ctx, t.ContainerID, cmd, timeout)
	output := string(append(stdout, stderr...))
	if len(output) > maxOutput {
		output = output[:maxOutput]
	}
	var exit utilexec.ExitError
	switch {
	case err == nil:
		return success, output
	case errors.As(err, &exit) && exit.ExitStatus() == 0:
		return success, output
	case errors.As(err, &exit):
		return failure, output
	case errors.Is(err, context.DeadlineExceeded) || grpcstatus.Code(err) == codes.DeadlineExceeded:
		return failure, fmt.Sprintf("command timed out: %q timed out after %v", strings.Join(cmd, " "), timeout)
	}
	return unknown, err.Error()
}

func (m *Manager) httpGet(ctx context.Context, t *Target, action *v1.HTTPGetAction, timeout time.Duration) (outcome, string) {
	req, err := httpprobe.NewRequestForHTTPGetAction(action, t.Container, t.PodIP, "probe")
	if err != nil {
		return unknown, err.Error()
	}
	client := &http.Client{
		Timeout:       timeout,
		CheckRedirect: httpprobe.RedirectChecker(false),
		Transport: &http.Transport{
			DialContext:        m.cfg.Dial,
			DisableKeepAlives:  true,
			DisableCompression: true,
			// A Pod's certificate is its own affair: a probe asks whether it
			// answers, not who it is.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
	}
	result, output, err := httpprobe.DoHTTPProbe(req.WithContext(ctx), client)
	switch {
	case err != nil:
		return failure, err.Error()
	case result == "success":
		return success, output
	case result == "warning":
		return warning, output
	}
	return failure, output
}

func (m *Manager) tcp(ctx context.Context, t *Target, action *v1.TCPSocketAction) (outcome, string) {
	port, err := ResolvePort(action.Port, t.Container)
	if err != nil {
		return unknown, err.Error()
	}
	host := action.Host
	if host == "" {
		host = t.PodIP
	}
	conn, err := m.cfg.Dial(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return failure, err.Error()
	}
	conn.Close()
	return success, ""
}

func (m *Manager) grpc(ctx context.Context, t *Target, action *v1.GRPCAction, timeout time.Duration) (outcome, string) {
	address := net.JoinHostPort(t.PodIP, strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithUserAgent("kube-probe/1.36"),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return m.cfg.Dial(ctx, "tcp", addr) }))
	if err != nil {
		return failure, fmt.Sprintf("error: failed to connect service at %q: %v", address, err)
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	switch grpcstatus.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return failure, fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %v", grpcstatus.Convert(err).Message())
	case codes.DeadlineExceeded:
		return failure, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)
	default:
		return failure, fmt.Sprintf("error: health rpc probe failed: %v", err)
	}
	if resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return failure, fmt.Sprintf("service unhealthy (responded with %q)", resp.Status)
	}
	return success, "service healthy"
}

// ResolvePort turns a port of a handler, which may be the name of one of the
// container's ports, into a number.
func ResolvePort(port intstr.IntOrString, c *v1.Container) (int, error) {
	n := port.IntValue()
	if port.Type == intstr.String && n == 0 {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				n = int(p.ContainerPort)
			}
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("port %q of container %s is neither a port number nor the name of one of its ports", port.String(), c.Name)
	}
	return n, nil
}
