package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"minato/internal/node/settings"
)

// What a cluster's file says it is.
const (
	FileVersion = "minato.local/v1alpha1"
	FileKind    = "Cluster"
)

// File describes a cluster, as `minato up --config` reads it. Fields that are left
// out are as the flags have them.
type File struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name,omitempty"`
	// Nodes are numbered from 1 in their order. The first one is node-1.
	Nodes                []FileNode `json:"nodes,omitempty"`
	IPFamily             *IPFamily  `json:"ipFamily,omitempty"`
	LANCIDR              *string    `json:"lanCIDR,omitempty"`
	PodCIDR              *string    `json:"podCIDR,omitempty"`
	ServiceCIDR          *string    `json:"serviceCIDR,omitempty"`
	LoadBalancerRange    *string    `json:"loadBalancerRange,omitempty"`
	ClusterDomain        *string    `json:"clusterDomain,omitempty"`
	APIPort              *int       `json:"apiPort,omitempty"`
	Ephemeral            *bool      `json:"ephemeral,omitempty"`
	OldAPIs              *bool      `json:"oldAPIs,omitempty"`
	TaintControlPlane    *bool      `json:"taintControlPlane,omitempty"`
	Kubeconfig           *string    `json:"kubeconfig,omitempty"`
	AllowedUnsafeSysctls []string   `json:"allowedUnsafeSysctls,omitempty"`
	Etcd                 *FileEtcd  `json:"etcd,omitempty"`
	RegistryConfig       *string    `json:"registryConfig,omitempty"`
	// ContainerRuntimeEndpoint is that of the nodes that have none of their own.
	ContainerRuntimeEndpoint *string        `json:"containerRuntimeEndpoint,omitempty"`
	CredentialProviders      *FileProviders `json:"credentialProviders,omitempty"`
	// Kubelet are settings of the nodes' agents, by the names of a
	// KubeletConfiguration.
	Kubelet *settings.Kubelet `json:"kubelet,omitempty"`
	// Resources are what each node has of the machine.
	Resources FileResources `json:"resources,omitempty"`
	// Images are files to load, and Manifests files or directories of objects to
	// apply, once the cluster is up. Like all paths, they begin at the file.
	Images    []string `json:"images,omitempty"`
	Manifests []string `json:"manifests,omitempty"`
}

// FileNode is one node of a File.
type FileNode struct {
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Taints []FileTaint       `json:"taints,omitempty"`
	// Kubelet are in place of those of the File.
	Kubelet *settings.Kubelet `json:"kubelet,omitempty"`
	// Resources are in place of those of the File, one by one.
	Resources FileResources `json:"resources,omitempty"`
	// ContainerRuntimeEndpoint is in place of that of the File.
	ContainerRuntimeEndpoint string `json:"containerRuntimeEndpoint,omitempty"`
}

// FileTaint is a taint as a Node object has it.
type FileTaint struct {
	Key    string             `json:"key"`
	Value  string             `json:"value,omitempty"`
	Effect corev1.TaintEffect `json:"effect"`
}

// FileEtcd is an etcd in place of the built-in one.
type FileEtcd struct {
	Servers  []string `json:"servers"`
	CAFile   string   `json:"caFile,omitempty"`
	CertFile string   `json:"certFile,omitempty"`
	KeyFile  string   `json:"keyFile,omitempty"`
}

// FileProviders are kubelet's credential providers: their configuration, and the
// directory with their programs.
type FileProviders struct {
	Config string `json:"config"`
	BinDir string `json:"binDir"`
}

// ParseFile reads a cluster's file, YAML or JSON. What it does not know is an
// error that names its path, such as nodes[1].label.
func ParseFile(text []byte) (File, error) {
	var f File
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return f, err
	}
	var unknown []error
	if unknown, err = json.UnmarshalStrict(data, &f, json.DisallowUnknownFields, json.DisallowDuplicateFields); err != nil {
		return f, err
	}
	if f.APIVersion != FileVersion || f.Kind != FileKind {
		return f, fmt.Errorf("apiVersion %q, kind %q: give apiVersion: %s and kind: %s", f.APIVersion, f.Kind, FileVersion, FileKind)
	}
	if len(unknown) > 0 {
		return f, errors.Join(unknown...)
	}
	return f, f.validate()
}

func (f File) validate() error {
	if f.Name != "" {
		if err := ValidateName(f.Name); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	if _, err := f.Kubelet.Values(); err != nil {
		return fmt.Errorf("kubelet.%w", err)
	}
	for i, n := range f.Nodes {
		if err := n.Kubelet.OfOneNode(); err != nil {
			return fmt.Errorf("nodes[%d].kubelet.%w", i, err)
		}
		if _, err := n.Kubelet.Over(f.Kubelet).Values(); err != nil {
			return fmt.Errorf("nodes[%d].kubelet.%w", i, err)
		}
		for j, t := range n.Taints {
			if _, err := ParseTaint((&corev1.Taint{Key: t.Key, Value: t.Value, Effect: t.Effect}).ToString()); err != nil || t.Effect == "" {
				return fmt.Errorf("nodes[%d].taints[%d]: give a key, a value or none, and the effect NoSchedule, PreferNoSchedule or NoExecute", i, j)
			}
		}
	}
	if _, err := f.Resources.claim(); err != nil {
		return fmt.Errorf("resources.%w", err)
	}
	if f.Etcd != nil && len(f.Etcd.Servers) == 0 {
		return errors.New("etcd.servers: give the URLs of the etcd, or leave etcd out")
	}
	_, err := f.nodeList()
	return err
}

// nodeList are the nodes of the file, numbered.
func (f File) nodeList() ([]NodeSpec, error) {
	c := Config{NodeList: []NodeSpec{}}
	for i, n := range f.Nodes {
		number := i + 1
		spec := NodeSpec{Number: number, Name: n.Name, Labels: n.Labels, Kubelet: n.Kubelet, RuntimeEndpoint: n.ContainerRuntimeEndpoint}
		if spec.Name == "" {
			spec.Name = NodeName(number)
		}
		var err error
		if spec.Claim, err = n.Resources.claim(); err != nil {
			return nil, fmt.Errorf("nodes[%d].resources.%w", i, err)
		}
		if number == firstNode && spec.Name != NodeName(firstNode) {
			return nil, fmt.Errorf("nodes[0].name %q: the first node, which stands for the control plane, is %s; leave the name out", n.Name, NodeName(firstNode))
		}
		if err := checkNodeName(spec.Name); err != nil {
			return nil, fmt.Errorf("nodes[%d].name: %w", i, err)
		}
		if ownName.MatchString(spec.Name) && spec.Name != NodeName(number) {
			return nil, fmt.Errorf("nodes[%d].name %q: is the name of another number; give another name, or none, which is %s", i, n.Name, NodeName(number))
		}
		if slices.ContainsFunc(c.NodeList, func(o NodeSpec) bool { return o.Name == spec.Name }) {
			return nil, fmt.Errorf("nodes[%d].name %q: is another node's; give another name", i, spec.Name)
		}
		if err := checkLabels(n.Labels); err != nil {
			return nil, fmt.Errorf("nodes[%d].labels: %w", i, err)
		}
		for _, t := range n.Taints {
			spec.Taints = append(spec.Taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: t.Effect})
		}
		c.NodeList = append(c.NodeList, spec)
	}
	return c.NodeList, nil
}

// Apply sets in c what the file says. dir is where its paths begin. exists says that
// c is that of a cluster that exists, whose nodes are changed by other means.
func (f File) Apply(c Config, dir string, exists bool) (Config, error) {
	set(&c.ClusterDomain, f.ClusterDomain)
	set(&c.APIPort, f.APIPort)
	set(&c.RuntimeEndpoint, f.ContainerRuntimeEndpoint)
	set(&c.Ephemeral, f.Ephemeral)
	set(&c.OldAPIs, f.OldAPIs)
	set(&c.TaintControlPlane, f.TaintControlPlane)
	if f.IPFamily != nil && *f.IPFamily != c.IPFamily {
		var family IPFamily
		if err := family.Set(string(*f.IPFamily)); err != nil {
			return c, fmt.Errorf("ipFamily: %w", err)
		}
		c.IPFamily, c.LAN, c.PodCIDR, c.ServiceCIDR, c.LoadBalancerRange = family, nil, nil, nil, ""
	}
	for _, r := range []struct {
		field string
		text  *string
		value interface{ Set(string) error }
	}{
		{"lanCIDR", f.LANCIDR, &c.LAN}, {"podCIDR", f.PodCIDR, &c.PodCIDR}, {"serviceCIDR", f.ServiceCIDR, &c.ServiceCIDR},
		{"loadBalancerRange", f.LoadBalancerRange, &c.LoadBalancerRange},
	} {
		if r.text == nil {
			continue
		}
		if err := r.value.Set(*r.text); err != nil {
			return c, fmt.Errorf("%s: %w", r.field, err)
		}
	}
	if f.Kubeconfig != nil {
		c.Kubeconfig = below(dir, *f.Kubeconfig)
	}
	if f.RegistryConfig != nil {
		c.Registries.Config = below(dir, *f.RegistryConfig)
	}
	if p := f.CredentialProviders; p != nil {
		c.Registries.Providers, c.Registries.ProviderBinDir = below(dir, p.Config), below(dir, p.BinDir)
	}
	if f.Kubelet != nil {
		c.Kubelet = f.Kubelet
	}
	if f.Resources != nil {
		var err error
		if c.Claim, err = f.Resources.claim(); err != nil {
			return c, fmt.Errorf("resources.%w", err)
		}
	}
	if f.AllowedUnsafeSysctls != nil {
		c.AllowedUnsafeSysctls = f.AllowedUnsafeSysctls
	}
	if e := f.Etcd; e != nil {
		c.EtcdServers = e.Servers
		c.EtcdCAFile, c.EtcdCertFile, c.EtcdKeyFile = below(dir, e.CAFile), below(dir, e.CertFile), below(dir, e.KeyFile)
	}
	return f.applyNodes(c, exists)
}

func (f File) applyNodes(c Config, exists bool) (Config, error) {
	if len(f.Nodes) == 0 {
		return c, nil
	}
	list, err := f.nodeList()
	if err != nil {
		return c, err
	}
	if !exists {
		c.Nodes, c.NodeList = len(list), list
		return c, nil
	}
	have := c.NodeSpecs()
	for i := range have {
		have[i].Stopped, have[i].Removing = false, false
	}
	if !equality.Semantic.DeepEqual(have, list) {
		return c, fmt.Errorf("nodes: cluster %q exists with other nodes; change them by `minato node add` and `remove`, or leave nodes out", c.Name)
	}
	return c, nil
}

// Paths returns the files of images and manifests, by their paths from anywhere.
func (f File) Paths(dir string) (images, manifests []string) {
	for _, p := range f.Images {
		images = append(images, below(dir, p))
	}
	for _, p := range f.Manifests {
		manifests = append(manifests, below(dir, p))
	}
	return images, manifests
}

// below is a path that begins at dir unless it is absolute or empty.
func below(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func set[T any](to *T, value *T) {
	if value != nil {
		*to = *value
	}
}
