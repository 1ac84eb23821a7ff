package gone

import (
	"reflect"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalinginstall "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchinstall "k8s.io/kubernetes/pkg/apis/batch/install"
	coreinstall "k8s.io/kubernetes/pkg/apis/core/install"
	"sigs.k8s.io/yaml"
)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, install := range []func(*runtime.Scheme){coreinstall.Install, autoscalinginstall.Install, batchinstall.Install} {
		install(s)
	}
	if err := Register(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// through reads an object, and returns its spec in another version.
func through(t *testing.T, s *runtime.Scheme, text string, gv schema.GroupVersion) string {
	t.Helper()
	obj, _, err := serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.ConvertToVersion(obj, gv)
	if err != nil {
		t.Fatal(err)
	}
	return specOf(t, out)
}

func specOf(t *testing.T, v any) string {
	t.Helper()
	data, err := yaml.Marshal(v)
	if text, ok := v.(string); ok {
		data = []byte(text)
	}
	var o struct{ Spec map[string]any }
	if err == nil {
		err = yaml.Unmarshal(data, &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err = yaml.Marshal(o.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestConversion follows the tables of Kubernetes' documents for each version.
func TestConversion(t *testing.T) {
	s := scheme(t)
	const target = "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 5"
	today := autoscalingv2.SchemeGroupVersion
	for name, test := range map[string]struct {
		old     schema.GroupVersion
		in, out string
	}{
		"v2beta1 utilization":     {V2beta1, "{type: Resource, resource: {name: cpu, targetAverageUtilization: 50}}", "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}"},
		"v2beta1 average":         {V2beta1, "{type: Resource, resource: {name: memory, targetAverageValue: 200Mi}}", "{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 200Mi}}}"},
		"v2beta1 container":       {V2beta1, "{type: ContainerResource, containerResource: {name: cpu, container: app, targetAverageUtilization: 60}}", "{type: ContainerResource, containerResource: {name: cpu, container: app, target: {type: Utilization, averageUtilization: 60}}}"},
		"v2beta1 Pods":            {V2beta1, "{type: Pods, pods: {metricName: requests, targetAverageValue: 1k, selector: {matchLabels: {verb: GET}}}}", "{type: Pods, pods: {metric: {name: requests, selector: {matchLabels: {verb: GET}}}, target: {type: AverageValue, averageValue: 1k}}}"},
		"v2beta1 object":          {V2beta1, "{type: Object, object: {metricName: hits, target: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: in}, targetValue: 10k}}", "{type: Object, object: {metric: {name: hits}, describedObject: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: in}, target: {type: Value, value: 10k}}}"},
		"v2beta1 object, average": {V2beta1, "{type: Object, object: {metricName: hits, target: {kind: Ingress, name: in}, targetValue: '0', averageValue: 5}}", "{type: Object, object: {metric: {name: hits}, describedObject: {kind: Ingress, name: in}, target: {type: AverageValue, averageValue: '5'}}}"},
		"v2beta1 external":        {V2beta1, "{type: External, external: {metricName: queue, metricSelector: {matchLabels: {q: a}}, targetAverageValue: 30}}", "{type: External, external: {metric: {name: queue, selector: {matchLabels: {q: a}}}, target: {type: AverageValue, averageValue: '30'}}}"},
		"v2beta2 is v2":           {V2beta2, "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}", "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}"},
	} {
		in := "apiVersion: " + test.old.String() + "\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {" + target + ", metrics: [" + test.in + "]}\n"
		out := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {" + target + ", metrics: [" + test.out + "]}\n"
		if got, want := through(t, s, in, today), specOf(t, out); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		// Quantities come back in their own words.
		if got, want := through(t, s, out, test.old), through(t, s, in, test.old); got != want {
			t.Errorf("%s, back: got\n%s\nwant\n%s", name, got, want)
		}
	}
	const job = "kind: CronJob\nmetadata: {name: c}\nspec: {schedule: '* * * * *', concurrencyPolicy: Forbid, suspend: true, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: c}]}}}}}\n"
	v1 := schema.GroupVersion{Group: "batch", Version: "v1"}
	if got, want := through(t, s, "apiVersion: batch/v2alpha1\n"+job, v1), through(t, s, "apiVersion: batch/v1beta1\n"+job, v1); got != want {
		t.Errorf("CronJob: got\n%s\nwant\n%s", got, want)
	}
}

func TestDefaults(t *testing.T) {
	s := scheme(t)
	want := specOf(t, "spec: {scaleTargetRef: {kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 5, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}")
	for _, gv := range []schema.GroupVersion{V2beta1, V2beta2} {
		in := "apiVersion: " + gv.String() + "\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 5}\n"
		if got := through(t, s, in, autoscalingv2.SchemeGroupVersion); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", gv, got, want)
		}
	}
}

// TestRoundTrip checks that nothing of v2 is lost on the way through an old version,
// what the old one has no field for included.
func TestRoundTrip(t *testing.T) {
	s := scheme(t)
	const text = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {kind: Deployment, name: web}
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 60}}
status:
  currentReplicas: 2
  desiredReplicas: 3
  conditions: [{type: AbleToScale, status: "True"}]
  currentMetrics:
  - {type: Resource, resource: {name: cpu, current: {averageUtilization: 40, averageValue: 10m}}}
  - {type: Object, object: {metric: {name: m}, describedObject: {kind: Ingress, name: in}, current: {value: 3}}}
  - {type: Pods, pods: {metric: {name: m}, current: {averageValue: 3}}}
  - {type: External, external: {metric: {name: m}, current: {value: 3, averageValue: 1}}}
  - {type: ContainerResource, containerResource: {name: cpu, container: c, current: {averageValue: 3}}}
`
	obj, _, err := serializer.NewCodecFactory(s).UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, gv := range []schema.GroupVersion{V2beta1, V2beta2} {
		for _, in := range []runtime.Object{obj, &autoscaling.HorizontalPodAutoscalerList{Items: []autoscaling.HorizontalPodAutoscaler{*obj.(*autoscaling.HorizontalPodAutoscaler)}}} {
			old, err := s.ConvertToVersion(in.DeepCopyObject(), gv)
			if err != nil {
				t.Fatal(err)
			}
			back, err := s.ConvertToVersion(old.DeepCopyObject(), schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal})
			if err != nil {
				t.Fatal(err)
			}
			a, _ := yaml.Marshal(in)
			b, _ := yaml.Marshal(back)
			if string(a) != string(b) {
				t.Errorf("%s: got\n%s\nwant\n%s", gv, b, a)
			}
		}
	}
	list := &batch.CronJobList{Items: make([]batch.CronJob, 2)}
	list.Items[1].Spec.Schedule = "@daily"
	old, err := s.ConvertToVersion(list, V2alpha1)
	if err != nil {
		t.Fatal(err)
	}
	if l := old.(*CronJobV2alpha1List); len(l.Items) != 2 || l.Items[1].Spec.Schedule != "@daily" {
		t.Errorf("a list of CronJobs became %+v", l)
	}
}

// TestDefinitions checks that the documents have every field of the types.
func TestDefinitions(t *testing.T) {
	defs := Definitions(func(name string) spec.Ref { return spec.MustCreateRef("#/definitions/" + name) })
	d := defs[AutoscalerV2beta1{}.OpenAPIModelName()]
	if len(defs) != 7 || !reflect.DeepEqual(d.Schema.Properties["spec"].Required, []string{"scaleTargetRef", "maxReplicas"}) {
		t.Errorf("%d definitions; spec of v2beta1 requires %v", len(defs), d.Schema.Properties["spec"].Required)
	}
	metric := d.Schema.Properties["spec"].Properties["metrics"].Items.Schema
	object := metric.Properties["object"]
	value := object.Properties["targetValue"]
	if ref := value.Ref.String(); ref != "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity" || len(object.Properties) != 5 {
		t.Errorf("object has the properties %v", object.Properties)
	}
	for _, name := range []string{"kind", "apiVersion", "metadata", "spec", "status"} {
		if _, ok := d.Schema.Properties[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
}
