package apiserver

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/apis/node"
)

func TestWarnings(t *testing.T) {
	no := false
	confined := core.PodSpec{SecurityContext: &core.PodSecurityContext{AppArmorProfile: &core.AppArmorProfile{Type: core.AppArmorProfileTypeRuntimeDefault}}}
	profile := &core.SecurityContext{AppArmorProfile: &core.AppArmorProfile{Type: core.AppArmorProfileTypeRuntimeDefault}}
	const (
		appArmor = "nodes of this cluster have no AppArmor profile of their own and refuse the Pod; leave the field out, or use the type Localhost or Unconfined"
	)
	restartAll := core.Container{RestartPolicyRules: []core.ContainerRestartRule{{Action: core.ContainerRestartRuleActionRestart}, {Action: core.ContainerRestartRuleActionRestartAllContainers}}}
	cronJob := &batch.CronJob{}
	cronJob.Spec.JobTemplate.Spec.Template.Spec = confined
	for name, test := range map[string]struct {
		obj       runtime.Object
		operation admission.Operation
		want      []string
	}{
		"empty Pod":     {&core.Pod{}, admission.Create, nil},
		"users":         {&core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{HostUsers: &no}}}, admission.Create, nil},
		"Pod's update":  {&core.Pod{Spec: confined}, admission.Update, nil},
		"no template":   {&core.ReplicationController{}, admission.Create, nil},
		"Deployment":    {&apps.Deployment{Spec: apps.DeploymentSpec{Template: core.PodTemplateSpec{Spec: confined}}}, admission.Update, []string{"spec.template.spec.securityContext.appArmorProfile: " + appArmor}},
		"CronJob":       {cronJob, admission.Create, []string{"spec.jobTemplate.spec.template.spec.securityContext.appArmorProfile: " + appArmor}},
		"AppArmor":      {&core.Pod{Spec: core.PodSpec{Containers: []core.Container{{}, {SecurityContext: profile}}}}, admission.Create, []string{"spec.containers[1].securityContext.appArmorProfile: " + appArmor}},
		"Unconfined":    {&core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{AppArmorProfile: &core.AppArmorProfile{Type: core.AppArmorProfileTypeUnconfined}}}}, admission.Create, nil},
		"Pod resources": {&core.Pod{Spec: core.PodSpec{Resources: &core.ResourceRequirements{Limits: core.ResourceList{core.ResourceCPU: resource.MustParse("1")}}}}, admission.Create, nil},
		"devices":       {&core.Pod{Spec: core.PodSpec{ResourceClaims: []core.PodResourceClaim{{Name: "gpu"}}}}, admission.Create, nil},
		"restart all":   {&core.Pod{Spec: core.PodSpec{Containers: []core.Container{{}, restartAll}}}, admission.Create, nil},
		"NetworkPolicy": {&networking.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}}, admission.Update, []string{`NetworkPolicy "deny" has no effect: this cluster does not enforce NetworkPolicies`}},
		"gVisor":        {&node.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "safe"}, Handler: "runsc"}, admission.Create, []string{`RuntimeClass "safe": nodes of this cluster have no handler "runsc" and refuse its Pods`}},
		"runc":          {&node.RuntimeClass{Handler: "runc"}, admission.Create, nil},
	} {
		if got := warningsOf(test.obj, test.operation, []string{"crun", "runc"}); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
