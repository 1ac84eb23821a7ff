package manifest

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

const web = `apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: web, image: nginx}
`

func TestPod(t *testing.T) {
	pod, err := Pod([]byte(web), "/etc/kubernetes/manifests/web.yaml", "c", "node-1")
	if err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.Containers[0]
	if pod.Name != "web-node-1" || pod.Namespace != "default" || pod.Spec.NodeName != "node-1" || pod.Spec.RestartPolicy != v1.RestartPolicyAlways ||
		c.ImagePullPolicy != v1.PullAlways || *pod.Spec.TerminationGracePeriodSeconds != 30 || pod.Status.Phase != v1.PodPending {
		t.Errorf("Pod %+v", pod)
	}
	if pod.Annotations["kubernetes.io/config.source"] != "file" || string(pod.UID) != pod.Annotations["kubernetes.io/config.hash"] || pod.UID == "" {
		t.Errorf("UID %s, annotations %v", pod.UID, pod.Annotations)
	}
	for name, other := range map[string]func() (*v1.Pod, error){
		"another manifest": func() (*v1.Pod, error) {
			return Pod([]byte(strings.Replace(web, "nginx", "nginx:2", 1)), "/etc/kubernetes/manifests/web.yaml", "c", "node-1")
		},
		"another file":    func() (*v1.Pod, error) { return Pod([]byte(web), "/etc/kubernetes/manifests/b.yaml", "c", "node-1") },
		"another cluster": func() (*v1.Pod, error) { return Pod([]byte(web), "/etc/kubernetes/manifests/web.yaml", "d", "node-1") },
		"another node":    func() (*v1.Pod, error) { return Pod([]byte(web), "/etc/kubernetes/manifests/web.yaml", "c", "node-2") },
	} {
		if p, err := other(); err != nil || p.UID == pod.UID {
			t.Errorf("%s: UID %s, %v", name, p.UID, err)
		}
	}
	json := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j","namespace":"kube-system"},"spec":{"containers":[{"name":"j","image":"j:1"}]}}`
	if p, err := Pod([]byte(json), "j.json", "c", "node-1"); err != nil || p.Namespace != "kube-system" || p.Name != "j-node-1" {
		t.Errorf("JSON: %+v, %v", p, err)
	}
}

func TestRefusals(t *testing.T) {
	for text, says := range map[string]string{
		"":     "read the manifest",
		"a: b": "read the manifest",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}":  "no Pod",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}":        "not valid",
		web + "  volumes: [{name: s, secret: {secretName: x}}]": "can't refer to secrets",
		web + "  serviceAccountName: x":                         "can't refer to serviceaccounts",
	} {
		if _, err := Pod([]byte(text), "x", "c", "node-1"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func FuzzPod(f *testing.F) {
	f.Add([]byte(web))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := Pod(data, "x", "c", "node-1"); err == nil && !strings.HasSuffix(p.Name, "-node-1") {
			t.Errorf("name %q", p.Name)
		}
	})
}
