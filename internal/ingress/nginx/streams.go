package nginx

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// ReadStreams reads the ConfigMaps of TCP and UDP services; either may be nil. The key is a port, the value
// namespace/service:port, and for TCP :PROXY behind it to take PROXY protocol, and once more to send it. The streams are
// sorted by protocol and port.
func ReadStreams(tcp, udp *corev1.ConfigMap) ([]table.Stream, []table.Finding) {
	var out []table.Stream
	var findings []table.Finding
	for _, m := range [...]*corev1.ConfigMap{tcp, udp} {
		if m == nil {
			continue
		}
		taken := map[uint16]bool{}
		for _, key := range slices.Sorted(maps.Keys(m.Data)) {
			s, err := parseStream(key, m.Data[key], m == udp)
			if err == nil && taken[s.Port] {
				err = fmt.Errorf("the port %d is there twice", s.Port)
			}
			if err != nil {
				findings = append(findings, table.Finding{Kind: "ConfigMap", Ingress: types.NamespacedName{Namespace: m.Namespace, Name: m.Name}, Field: key,
					Reason: ReasonSettingInvalid, Warning: true, Message: fmt.Sprintf("%s: the value %q can't be used: %v. The port is not served.", key, m.Data[key], err)})
				continue
			}
			taken[s.Port] = true
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b table.Stream) int {
		if a.UDP != b.UDP {
			if b.UDP {
				return -1
			}
			return 1
		}
		return int(a.Port) - int(b.Port)
	})
	return out, findings
}

func parseStream(key, value string, udp bool) (table.Stream, error) {
	s := table.Stream{UDP: udp}
	port, err := parseInt(strings.TrimSpace(key))
	if err != nil || port < 1 || port > 65535 {
		return s, fmt.Errorf("the key is not a port")
	}
	s.Port = uint16(port)
	f := strings.Split(strings.TrimSpace(value), ":")
	ns, service, ok := strings.Cut(f[0], "/")
	if !ok || !isHostName(ns) || !isHostName(service) || len(f) < 2 || f[1] == "" || !isPortName(f[1]) {
		return s, fmt.Errorf("it is not namespace/service:port")
	}
	s.Backend = table.BackendRef{Namespace: ns, Service: service, Port: f[1]}
	options := f[2:]
	if udp && len(options) > 0 || len(options) > 2 {
		return s, fmt.Errorf("there is more behind the port than it can have")
	}
	for i, o := range options {
		switch {
		case strings.EqualFold(o, "PROXY") && i == 0:
			s.DecodeProxy = true
		case strings.EqualFold(o, "PROXY"):
			s.EncodeProxy = true
		case o != "":
			return s, fmt.Errorf("%q is not PROXY", o)
		}
	}
	return s, nil
}

// isPortName tells whether s is a port's number or name.
func isPortName(s string) bool {
	if n, err := parseInt(s); err == nil {
		return n > 0 && n < 65536
	}
	return isHostName(s) && len(s) <= 15 && !strings.Contains(s, ".")
}
