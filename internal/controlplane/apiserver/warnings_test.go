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
	userNamespace := core.PodSpec{SecurityContext: &core.PodSecurityContext{HostUsers: &no}}
	profile := &core.SecurityContext{AppArmorProfile: &core.AppArmorProfile{Type: core.AppArmorProfileTypeRuntimeDefault}}
	const (
		users     = "nodes of this cluster make no user namespaces and refuse the Pod; leave the field out"
		appArmor  = "nodes of this cluster load no AppArmor profiles and refuse the Pod; leave the field out or use the type Unconfined"
		resources = "nodes of this cluster do not apply resources of a whole Pod and refuse the Pod; set the resources of its containers"
		claims    = "nodes of this cluster have no drivers for dynamic resources and refuse the Pod; leave the field out"
		restarts  = "nodes of this cluster restart no other containers and refuse the Pod; use the action Restart"
	)
	restartAll := core.Container{RestartPolicyRules: []core.ContainerRestartRule{{Action: core.ContainerRestartRuleActionRestart}, {Action: core.ContainerRestartRuleActionRestartAllContainers}}}
	cronJob := &batch.CronJob{}
	cronJob.Spec.JobTemplate.Spec.Template.Spec = userNamespace
	for name, test := range map[string]struct {
		obj       runtime.Object
		operation admission.Operation
		want      []string
	}{
		"empty Pod":     {&core.Pod{}, admission.Create, nil},
		"user Pod":      {&core.Pod{Spec: userNamespace}, admission.Create, []string{"spec.hostUsers: " + users}},
		"Pod's update":  {&core.Pod{Spec: userNamespace}, admission.Update, nil},
		"no template":   {&core.ReplicationController{}, admission.Create, nil},
		"Deployment":    {&apps.Deployment{Spec: apps.DeploymentSpec{Template: core.PodTemplateSpec{Spec: userNamespace}}}, admission.Update, []string{"spec.template.spec.hostUsers: " + users}},
		"CronJob":       {cronJob, admission.Create, []string{"spec.jobTemplate.spec.template.spec.hostUsers: " + users}},
		"AppArmor":      {&core.Pod{Spec: core.PodSpec{Containers: []core.Container{{}, {SecurityContext: profile}}}}, admission.Create, []string{"spec.containers[1].securityContext.appArmorProfile: " + appArmor}},
		"Unconfined":    {&core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{AppArmorProfile: &core.AppArmorProfile{Type: core.AppArmorProfileTypeUnconfined}}}}, admission.Create, nil},
		"no resources":  {&core.Pod{Spec: core.PodSpec{Resources: &core.ResourceRequirements{}}}, admission.Create, nil},
		"Pod resources": {&core.Pod{Spec: core.PodSpec{Resources: &core.ResourceRequirements{Limits: core.ResourceList{core.ResourceCPU: resource.MustParse("1")}}}}, admission.Create, []string{"spec.resources: " + resources}},
		"devices":       {&core.Pod{Spec: core.PodSpec{ResourceClaims: []core.PodResourceClaim{{Name: "gpu"}}}}, admission.Create, []string{"spec.resourceClaims: " + claims}},
		"restart all":   {&core.Pod{Spec: core.PodSpec{Containers: []core.Container{{}, restartAll}}}, admission.Create, []string{"spec.containers[1].restartPolicyRules[1].action: " + restarts}},
		"NetworkPolicy": {&networking.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}}, admission.Update, []string{`NetworkPolicy "deny" has no effect: this cluster does not enforce NetworkPolicies`}},
		"gVisor":        {&node.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "safe"}, Handler: "runsc"}, admission.Create, []string{`RuntimeClass "safe": nodes of this cluster have no handler "runsc" and refuse its Pods`}},
		"runc":          {&node.RuntimeClass{Handler: "runc"}, admission.Create, nil},
	} {
		if got := warningsOf(test.obj, test.operation, []string{"crun", "runc"}); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// TestDropHostUsers checks that Pod Security gets a copy, and only where needed.
func TestDropHostUsers(t *testing.T) {
	no, yes := false, true
	with := &apps.Deployment{}
	with.Spec.Template.Spec.SecurityContext = &core.PodSecurityContext{HostUsers: &no}
	got, ok := dropHostUsers(with).(*apps.Deployment)
	if !ok || got == with || got.Spec.Template.Spec.SecurityContext.HostUsers != nil || with.Spec.Template.Spec.SecurityContext.HostUsers == nil {
		t.Errorf("of a Deployment with hostUsers: false Pod Security sees %+v", got)
	}
	without := &core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{HostUsers: &yes}}}
	if dropHostUsers(without) != runtime.Object(without) {
		t.Error("a Pod with hostUsers: true was copied")
	}
	if dropHostUsers(nil) != nil {
		t.Error("an object that is not there became one")
	}
}
