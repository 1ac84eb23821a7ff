package main

import (
	"strings"
	"testing"
)

const sample = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ipaddresspools.metallb.io}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: controller}
spec:
  template:
    spec:
      containers:
      - args: [--port=9120]
        image: quay.io/metallb/controller:main
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: speaker}
spec:
  template:
    spec:
      containers:
      - {args: [--port=9120], image: "quay.io/metallb/speaker:main"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: metallb-webhook-configuration}
`

func TestManifest(t *testing.T) {
	parts, err := readManifest([]byte(sample), "v9", false)
	if err != nil || len(parts) != 2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	if !strings.Contains(string(parts[0]), "CustomResourceDefinition") || strings.Contains(string(parts[1]), "CustomResourceDefinition") {
		t.Error("definitions don't come first")
	}
	rest := string(parts[1])
	for _, want := range []string{
		"quay.io/metallb/controller:v9", "quay.io/metallb/speaker:v9", "--lb-class=" + metallbClass, "--webhook-mode=disabled", "--port=9120", "imagePullPolicy: Never",
	} {
		if !strings.Contains(rest, want) {
			t.Errorf("no %s in\n%s", want, rest)
		}
	}
	if strings.Count(rest, "--webhook-mode") != 1 || strings.Contains(rest, "Webhook") {
		t.Errorf("a webhook is left, or the speaker has a flag of the controller's:\n%s", rest)
	}
	if parts, err = readManifest([]byte(sample), "v9", true); err != nil || len(parts) != 1 {
		t.Errorf("with definitions of the cluster's own: %d parts, %v", len(parts), err)
	}
	without := strings.Replace(sample, "DaemonSet", "ReplicaSet", 1)
	if _, err := readManifest([]byte(without), "v9", false); err == nil || !strings.Contains(err.Error(), "no speaker") {
		t.Errorf("a manifest without a speaker: %v", err)
	}
}
