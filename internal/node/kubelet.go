package node

import (
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"minato/internal/node/static"
)

// kubelet says in the kubelet's words what the agent does, for /configz. A field
// is set only if the agent acts on it.
func (c *Config) kubelet() kubeletv1beta1.KubeletConfiguration {
	yes := true
	k := kubeletv1beta1.KubeletConfiguration{
		Port: int32(c.APIPort), RegisterNode: &yes, ProviderID: c.ProviderID,
		ClusterDomain: c.ClusterDomain, ResolverConfig: &c.ResolvConf, PodLogsDir: c.logDir(),
		NodeLeaseDurationSeconds: int32(leaseDuration.Seconds()),
	}
	for _, ip := range c.ClusterDNS {
		k.ClusterDNS = append(k.ClusterDNS, ip.String())
	}
	if c.FilesDir != "" && c.DecodePod != nil {
		k.StaticPodPath, k.FileCheckFrequency.Duration = static.Dir, static.CheckPeriod
	}
	k.NodeStatusUpdateFrequency.Duration = conditionPeriod
	k.NodeStatusReportFrequency.Duration = statusPeriod
	c.Settings.Fill(&k)
	return k
}
