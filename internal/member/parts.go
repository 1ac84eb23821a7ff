package member

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"minato/internal/ingress"
	agent "minato/internal/node"
	"minato/internal/service/metrics"
	"minato/internal/supervise"
	"minato/internal/version"
)

// PartLogs writes the lines of parts that the server has printed: those about the
// node, or about none in particular.
type PartLogs func(ctx context.Context, parts []string, node string, o agent.PartLogOptions, w io.Writer) error

// PartImage is the program that the parts are in, as an image's name.
func PartImage() string { return "minato:" + version.Get().Version }

// shown is a part of every node that is shown as a Pod.
type shown struct {
	name, label string
	command     []string
	// main is the supervised part that is started again when the Pod is deleted,
	// others are more that belong to it, logs the names in log lines besides.
	main   string
	others []string
	logs   []string
	// pid is the process that the part has beside the server; 0 is none.
	pid func() int
	// files can be shown by `kubectl exec … cat`.
	files partFiles
	// ready, if set, says what is missing although all of them run.
	ready func() string
}

// nodeParts are the Pods that show the node's parts, and those that the cluster has
// beside this node.
func (m *Member) nodeParts() []agent.Part {
	var out []agent.Part
	for _, s := range m.shownParts() {
		names := append(append([]string{s.name, s.main}, s.others...), s.logs...)
		part := agent.Part{
			Name: s.name, Labels: map[string]string{"k8s-app": s.label}, Image: PartImage(), Command: s.command,
			State:   func() agent.PartState { return partState(s, m.States(), m.began) },
			Restart: func() error { return m.parts.Restart(s.main) },
			Logs: func(ctx context.Context, o agent.PartLogOptions, w io.Writer) error {
				return m.cfg.PartLogs(ctx, names, m.cfg.Name, o, w)
			},
		}
		if m.cfg.Use != nil {
			part.Use = func() (agent.PartUse, error) { return m.partUse(s) }
		}
		if len(s.files) > 0 {
			part.Exec = s.files.exec
		}
		out = append(out, part)
	}
	return append(out, m.cfg.Parts...)
}

// partState sums up the states of the supervised parts that a Pod shows.
func partState(s shown, states []supervise.State, began time.Time) agent.PartState {
	out := agent.PartState{Ready: true, First: began}
	found := false
	for _, state := range states {
		if state.Name != s.main && !slices.Contains(s.others, state.Name) {
			continue
		}
		out.Restarts += state.Restarts
		if state.Since.After(out.Since) && state.Phase != supervise.Done {
			out.Since = state.Since
		}
		if state.Phase == supervise.Failed {
			out.Ready, out.Message = false, state.Name+": "+state.Error
		}
		if state.Name == s.main {
			found, out.Failed, out.Error = true, state.Phase == supervise.Failed, state.Error
		}
	}
	if !found {
		return agent.PartState{Message: "it has not been started yet", Since: began, First: began}
	}
	if out.Ready && s.ready != nil {
		out.Message = s.ready()
		out.Ready = out.Message == ""
	}
	return out
}

// shownParts are the parts with their effective configuration.
func (m *Member) shownParts() []shown {
	cfg := m.cfg
	return []shown{
		{
			name: "kube-proxy", label: "kube-proxy", files: cfg.ProxyFiles, main: partServices, others: []string{"service-checks", "service-health", "service-metrics"}, logs: []string{"service"},
			command: []string{
				"kube-proxy", "--cluster-cidr=" + list(cfg.PodCIDRs), "--healthz-bind-address=" + Anywhere(cfg.Addresses, metrics.HealthPort),
				"--hostname-override=" + cfg.Name, "--metrics-bind-address=" + Anywhere(cfg.Addresses, metrics.Port), "--proxy-mode=" + metrics.Mode,
			},
		},
		{
			name: "minato-dns", label: "kube-dns", main: "dns", others: []string{"dns-metrics", "dns-registration"}, logs: []string{"dns-zone", "dns-settings"},
			command: []string{
				"minato-dns", "--cluster-dns=" + list(cfg.ClusterDNS), "--domain=" + cfg.ClusterDomain,
				fmt.Sprintf("--listen=%s", at(cfg.Addresses[0], dnsPort)), fmt.Sprintf("--metrics=%s", at(cfg.Addresses[0], dnsMetricsPort)),
				"--resolv-conf=" + cfg.ResolvConf,
			},
			ready: func() string {
				select {
				case <-cfg.Watch.zone.Ready():
					return ""
				default:
					return "the cluster's names are not known yet"
				}
			},
		},
		{
			name: "minato-loadbalancer", label: "minato-loadbalancer", main: partAnnounce, others: []string{"bgp"}, pid: m.speaker.PID,
			logs:    []string{"loadbalancer", "load-balancer-settings", "load-balancer-events", "load-balancer-reports"},
			command: []string{"minato-loadbalancer", "--interface=" + cfg.Link, "--node=" + cfg.Name},
		},
		{
			name: "minato-ingress", label: "minato-ingress", main: "ingress", others: []string{"ingress-registration"}, pid: m.ingress.PID, logs: []string{"ingress-objects"},
			command: []string{
				"minato-ingress", fmt.Sprintf("--http-port=%d", ingress.HTTPPort), fmt.Sprintf("--https-port=%d", ingress.HTTPSPort),
				"--node=" + cfg.Name, fmt.Sprintf("--status-port=%d", ingress.StatusPort),
			},
		},
	}
}

func list[T netip.Addr | netip.Prefix](all []T) string {
	out := make([]string, 0, len(all))
	for _, one := range all {
		out = append(out, fmt.Sprint(one))
	}
	return strings.Join(out, ",")
}

// partChanged has the Pods that show the parts looked at.
func (m *Member) partChanged(supervise.State) {
	if a := m.agent.Load(); a != nil {
		a.LookAtParts()
	}
}
