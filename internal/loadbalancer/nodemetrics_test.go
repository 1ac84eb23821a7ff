package loadbalancer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsOfANode(t *testing.T) {
	r := newNodeRig(t, "node-1", threeNodes...)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(r.node); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry); n != 0 || err != nil || r.node.Ready() {
		t.Errorf("before it runs: %d metrics, %v, ready %v", n, err, r.node.Ready())
	}
	mine, theirs := addressFor(0, []string{"node-1"}, threeNodes...), addressFor(0, []string{"node-2"}, threeNodes...)
	r.run()
	r.set("mine", mine, "node-1")
	r.set("theirs", theirs, "node-2")
	r.wants("mine", mine+"!>node-1")
	r.eventually("readiness", r.node.Ready, func() any { return "none" })
	want := fmt.Sprintf(`
# HELP metallb_speaker_announced Services announced from this node.
# TYPE metallb_speaker_announced gauge
metallb_speaker_announced{ip=%[1]q,node="node-1",protocol="layer2",service="default/mine"} 1
# HELP metallb_layer2_requests_received ARP requests and neighbour solicitations for an address.
# TYPE metallb_layer2_requests_received counter
metallb_layer2_requests_received{ip=%[1]q} 1
# HELP metallb_layer2_responses_sent Answers to requests for an address.
# TYPE metallb_layer2_responses_sent counter
metallb_layer2_responses_sent{ip=%[1]q} 2
# HELP metallb_layer2_gratuitous_sent Times that an address was announced unasked at an interface.
# TYPE metallb_layer2_gratuitous_sent counter
metallb_layer2_gratuitous_sent{ip=%[1]q} 3
`, mine)
	names := []string{"metallb_speaker_announced", "metallb_layer2_requests_received", "metallb_layer2_responses_sent", "metallb_layer2_gratuitous_sent"}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	r.halt()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
