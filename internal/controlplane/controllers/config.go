package controllers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	gcconfig "k8s.io/kubernetes/pkg/controller/garbagecollector/config"
	"k8s.io/kubernetes/pkg/controller/nodeipam/ipam"
)

// Enabled are the controllers that run. The two that are off by default serve
// bootstrap tokens.
func Enabled() []string {
	return []string{"*", "bootstrap-signer-controller", "token-cleaner-controller"}
}

// componentConfig is kubeadm's flags for kube-controller-manager, in code.
func componentConfig(cfg Config) (kubectrlmgrconfig.KubeControllerManagerConfiguration, error) {
	c, err := options.NewDefaultComponentConfig()
	if err != nil {
		return c, fmt.Errorf("controllers: default configuration: %w", err)
	}
	c.Generic.Controllers = Enabled()
	c.Generic.ControllerStartInterval = metav1.Duration{}

	paths := cfg.PKI.Paths()
	c.SAController.RootCAFile = paths.CACert
	c.SAController.ServiceAccountKeyFile = paths.ServiceAccountKey
	c.CSRSigningController.ClusterSigningCertFile = paths.CACert
	c.CSRSigningController.ClusterSigningKeyFile = paths.CAKey

	// Some defaults live only in flag definitions; defining the flags sets them.
	(&options.NodeLifecycleControllerOptions{NodeLifecycleControllerConfiguration: &c.NodeLifecycleController}).
		AddFlags(pflag.NewFlagSet("defaults", pflag.ContinueOnError))
	c.KubeCloudShared.CIDRAllocatorType = string(ipam.RangeAllocatorType)
	// Upstream creates and watches this directory, by default one in /usr.
	c.PersistentVolumeBinderController.VolumeConfiguration.FlexVolumePluginDir = cfg.VolumePluginDir

	c.KubeCloudShared.ClusterName = cfg.ClusterName
	c.KubeCloudShared.AllocateNodeCIDRs = true
	c.KubeCloudShared.CIDRAllocatorType = string(ipam.RangeAllocatorType)
	c.KubeCloudShared.ClusterCIDR = joinPrefixes(cfg.PodCIDRs)
	if err := nodeMasks(&c, cfg); err != nil {
		return c, err
	}
	ignored := garbagecollector.DefaultIgnoredResources()
	for r := range ignored {
		c.GarbageCollectorController.GCIgnoredResources = append(c.GarbageCollectorController.GCIgnoredResources,
			gcconfig.GroupResource{Group: r.Group, Resource: r.Resource})
	}
	return c, nil
}

// nodeMasks says how large a node's share of each Pod range is.
func nodeMasks(c *kubectrlmgrconfig.KubeControllerManagerConfiguration, cfg Config) error {
	for i, p := range cfg.ServiceCIDRs {
		switch i {
		case 0:
			c.NodeIPAMController.ServiceCIDR = p.String()
		case 1:
			c.NodeIPAMController.SecondaryServiceCIDR = p.String()
		}
	}
	for _, p := range cfg.PodCIDRs {
		field, mask, longest := "NodeCIDRMaskIPv4", cfg.NodeCIDRMaskIPv4, 30
		if p.Addr().Is6() {
			field, mask, longest = "NodeCIDRMaskIPv6", cfg.NodeCIDRMaskIPv6, 126
		}
		if mask <= p.Bits() || mask > longest {
			return fmt.Errorf("controllers: Config.%s is %d, but a node's share of %s needs a longer mask, up to %d", field, mask, p, longest)
		}
		// Upstream has one setting for single-stack clusters and two for others.
		switch {
		case len(cfg.PodCIDRs) == 1:
			c.NodeIPAMController.NodeCIDRMaskSize = int32(mask)
		case p.Addr().Is4():
			c.NodeIPAMController.NodeCIDRMaskSizeIPv4 = int32(mask)
		default:
			c.NodeIPAMController.NodeCIDRMaskSizeIPv6 = int32(mask)
		}
	}
	return nil
}

func joinPrefixes(prefixes []netip.Prefix) string {
	out := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return strings.Join(slices.Clip(out), ",")
}
