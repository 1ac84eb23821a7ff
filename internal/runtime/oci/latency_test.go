package oci

import (
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// BenchmarkStart measures a pod from nothing to a started container.
func BenchmarkStart(b *testing.B) {
	n := newNode(b)
	for b.Loop() {
		t0 := time.Now()
		sb := n.pod(sandboxConfig("bench"))
		t1 := time.Now()
		id, err := n.CreateContainer(b.Context(), sb, containerConfig("trap"), nil)
		if err != nil {
			b.Fatal(err)
		}
		t2 := time.Now()
		if err := n.StartContainer(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		t3 := time.Now()
		b.StopTimer()
		b.ReportMetric(float64(t1.Sub(t0).Microseconds())/1000, "sandbox-ms")
		b.ReportMetric(float64(t2.Sub(t1).Microseconds())/1000, "create-ms")
		b.ReportMetric(float64(t3.Sub(t2).Microseconds())/1000, "start-ms")
		if err := n.RemovePodSandbox(b.Context(), sb); err != nil {
			b.Fatal(err)
		}
		b.Logf("remove %v", time.Since(t3))
		b.StartTimer()
	}
}

// BenchmarkExit measures from the end of a container to its event.
func BenchmarkExit(b *testing.B) {
	n := newNode(b)
	events := n.Events(b.Context())
	sb := n.pod(sandboxConfig("bench"))
	var total time.Duration
	for b.Loop() {
		id := n.run(sb, containerConfig("exit", "0"))
		for e := range events {
			if e.ContainerID == id && e.Type == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT {
				total += e.At.Sub(time.Unix(0, n.status(id).GetFinishedAt()))
				break
			}
		}
	}
	b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "notice-ms")
}
