package usage

import (
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/metrics/pkg/apis/metrics"
)

// resources is a rate as quantities: of CPUs to the billionth, of memory in bytes.
func resources(r rate) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(math.Round(r.cores*1e9)), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(r.memory), resource.BinarySI),
	}
}

// columns are those of metrics-server.
func columns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
		{Name: "cpu", Type: "string", Format: "quantity"},
		{Name: "memory", Type: "string", Format: "quantity"},
		{Name: "Window", Type: "string", Format: "duration"},
	}
}

// table shows objects as `kubectl get` prints them.
func table(object, options runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		t.ColumnDefinitions = columns()
	}
	add := func(o runtime.Object, name string, window time.Duration, usage corev1.ResourceList) {
		t.Rows = append(t.Rows, metav1.TableRow{
			Cells:  []any{name, usage.Cpu().String(), usage.Memory().String(), window.String()},
			Object: runtime.RawExtension{Object: o},
		})
	}
	switch o := object.(type) {
	case *metrics.NodeMetrics:
		add(o, o.Name, o.Window.Duration, o.Usage)
	case *metrics.NodeMetricsList:
		for i := range o.Items {
			add(&o.Items[i], o.Items[i].Name, o.Items[i].Window.Duration, o.Items[i].Usage)
		}
	case *metrics.PodMetrics:
		add(o, o.Name, o.Window.Duration, sum(o.Containers))
	case *metrics.PodMetricsList:
		for i := range o.Items {
			add(&o.Items[i], o.Items[i].Name, o.Items[i].Window.Duration, sum(o.Items[i].Containers))
		}
	default:
		return nil, fmt.Errorf("a %T is no metrics of a node or Pod", object)
	}
	return t, nil
}

// sum adds up what the containers of a Pod use.
func sum(containers []metrics.ContainerMetrics) corev1.ResourceList {
	total := corev1.ResourceList{}
	for _, c := range containers {
		for name, q := range c.Usage {
			t := total[name]
			t.Add(q)
			total[name] = t
		}
	}
	return total
}
