package api

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/spec"
)

var labels = map[string]string{
	spec.LabelPodName: "web", spec.LabelPodNamespace: "default", spec.LabelPodUID: "u", spec.LabelContainerName: "main",
}

func sandboxConfig(logDir string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "default", Uid: "u"}, Labels: labels, LogDirectory: logDir,
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}}},
	}
}

func containerConfig(attempt uint32) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main", Attempt: attempt}, Labels: labels,
		Image: &runtimeapi.ImageSpec{Image: "x"}, LogPath: spec.LogPath("main", attempt),
	}
}
