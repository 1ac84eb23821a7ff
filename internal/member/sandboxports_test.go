package member

import (
	"net/netip"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/spec"
	"minato/internal/runtime/oci"
	"minato/internal/service/route"
)

// podPorts are the hostPorts of the cluster's own Pods.
type podPorts map[types.NamespacedName][]route.HostPort

func (p podPorts) Follow(func(types.NamespacedName)) (cache.DoneChecker, func(), error) {
	return nil, func() {}, nil
}
func (p podPorts) Pod(name types.NamespacedName) []route.HostPort { return p[name] }
func (p podPorts) Names() (out []types.NamespacedName) {
	for name := range p {
		out = append(out, name)
	}
	return out
}

func TestPortsOfForeignSandboxes(t *testing.T) {
	shop := types.NamespacedName{Namespace: "default", Name: "shop"}
	own := route.HostPort{Port: 80, Protocol: "TCP", Backend: netip.MustParseAddrPort("10.244.1.2:80")}
	p := newSandboxPorts(podPorts{shop: {own}})
	box := func(id, name string, labels map[string]string, ports ...*runtimeapi.PortMapping) oci.SandboxInfo {
		return oci.SandboxInfo{ID: id, Namespace: "default", Name: name, Labels: labels, PortMappings: ports}
	}
	ips := []netip.Addr{netip.MustParseAddr("10.244.1.9")}
	mapping := func(host int32) *runtimeapi.PortMapping {
		return &runtimeapi.PortMapping{HostPort: host, ContainerPort: 8080}
	}
	early := box("a", "early", nil, mapping(8080))
	p.attached(early, ips)
	var told []string
	_, stop, err := p.Follow(func(n types.NamespacedName) { told = append(told, n.Name) })
	if err != nil {
		t.Fatal(err)
	}
	p.attached(box("b", "shop", nil, mapping(81)), ips)
	p.attached(box("c", "pod", map[string]string{spec.LabelPodUID: "1"}, mapping(82)), ips)
	p.attached(box("d", "none", nil, mapping(0)), ips)
	if want := []string{"early", "shop"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q: neither the agent's nor those without host ports", told, want)
	}
	if got := p.Pod(shop); len(got) != 2 || got[0] != own || got[1].Port != 81 || got[1].Backend.String() != "10.244.1.9:8080" {
		t.Errorf("ports of a name that both have: %+v", got)
	}
	if got := p.Names(); len(got) != 2 {
		t.Errorf("names %v", got)
	}
	told = nil
	p.detached(early)
	p.detached(early)
	if len(told) != 1 || len(p.Pod(types.NamespacedName{Namespace: "default", Name: "early"})) != 0 {
		t.Errorf("after the end: told of %q", told)
	}
	stop()
	p.attached(early, ips)
	if len(told) != 1 {
		t.Error("it tells after its end")
	}
}
