package cni

import (
	"encoding/json"
	"slices"
	"strings"
)

// versions are those of the specification that are spoken, the oldest first.
var versions = [...]string{"1.0.0", "1.1.0"}

// Commands of the specification.
const (
	cmdAdd     = "ADD"
	cmdDel     = "DEL"
	cmdCheck   = "CHECK"
	cmdGC      = "GC"
	cmdStatus  = "STATUS"
	cmdVersion = "VERSION"
)

// network is the configuration that the runtime sends, as far as it is known
// here.
type network struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	// Socket is the Server's. In its place, Clusters is the directory of all clusters
	// of the machine, for a runtime that serves several nodes.
	Socket   string `json:"socket"`
	Clusters string `json:"clusters"`
	// PrevResult is that of the plugin before, or for CHECK and DEL that of ADD.
	PrevResult json.RawMessage `json:"prevResult"`
	// Valid are the attachments that are in use, for GC.
	Valid         *[]attachment              `json:"cni.dev/valid-attachments"`
	IPAM          json.RawMessage            `json:"ipam"`
	IPMasq        *bool                      `json:"ipMasq"`
	RuntimeConfig map[string]json.RawMessage `json:"runtimeConfig"`
}

// attachment names an interface of a container.
type attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// result is a success of ADD.
type result struct {
	CNIVersion string   `json:"cniVersion"`
	Interfaces []device `json:"interfaces"`
	IPs        []ip     `json:"ips"`
	Routes     []route  `json:"routes"`
	DNS        struct{} `json:"dns"`
}

type device struct {
	Name    string `json:"name"`
	Mac     string `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"` // since 1.1.0
	Sandbox string `json:"sandbox,omitempty"`
}

type ip struct {
	Address   string `json:"address"` // with the length of its prefix
	Gateway   string `json:"gateway,omitempty"`
	Interface int    `json:"interface"` // an index of interfaces
}

type route struct {
	Dst string `json:"dst"`
	GW  string `json:"gw"`
}

// call is one call of the plugin.
type call struct {
	command, containerID, netns, ifName, args string
	net                                       network
}

// readCall reads what the specification has in the environment and on standard
// input. Beside an error it returns the call where it could be read.
func readCall(env func(string) string, stdin []byte) (*call, error) {
	c := &call{
		command: env("CNI_COMMAND"), containerID: env("CNI_CONTAINERID"),
		netns: env("CNI_NETNS"), ifName: env("CNI_IFNAME"), args: env("CNI_ARGS"),
	}
	if err := json.Unmarshal(stdin, &c.net); err != nil {
		return nil, fail(codeDecode, "the network configuration on standard input is no JSON object of the CNI: %v", err)
	}
	if c.command == cmdVersion {
		return c, nil
	}
	if !slices.Contains(versions[:], c.net.CNIVersion) {
		return c, fail(codeVersion, "cniVersion %q of the network configuration is not spoken here; give one of %s", c.net.CNIVersion, strings.Join(versions[:], ", "))
	}
	if err := c.checkNetwork(); err != nil {
		return c, err
	}
	return c, c.checkEnvironment()
}

// checkNetwork refuses what the Pod network does not do.
func (c *call) checkNetwork() error {
	n := &c.net
	switch {
	case n.Name == "" || strings.Contains(n.Name, "/"):
		return fail(codeConfig, "name %q of the network configuration is empty or has a slash", n.Name)
	case n.Clusters != "" && n.Socket != "":
		return fail(codeConfig, "socket and clusters in the network configuration exclude each other; leave one out")
	case n.Clusters != "" && !strings.HasPrefix(n.Clusters, "/"):
		return fail(codeConfig, "clusters %q of the network configuration is no absolute path; `minato cni config` prints a configuration", n.Clusters)
	case n.Clusters == "" && !strings.HasPrefix(n.Socket, "/"):
		return fail(codeConfig, "socket %q of the network configuration is no absolute path; `minato cni config NODE` prints a configuration", n.Socket)
	case c.command == cmdDel || c.command == cmdGC:
		// What was refused, or was not asked for then, is nothing to keep a container
		// for: a runtime calls DEL until it succeeds.
		return nil
	case len(n.IPAM) > 0:
		return fail(codeUnsupported, "ipam in the network configuration: the node gives addresses itself; remove the field")
	case n.IPMasq != nil:
		return fail(codeUnsupported, "ipMasq in the network configuration: the cluster decides what is masqueraded; remove the field")
	}
	for name := range n.RuntimeConfig {
		return fail(codeUnsupported, "runtimeConfig.%s in the network configuration: this plugin has no such capability; remove it from capabilities", name)
	}
	if c.command == cmdAdd && len(n.PrevResult) > 0 {
		return fail(codeUnsupported, "prevResult in the network configuration: this plugin makes an interface and has to be the first of the list")
	}
	return nil
}

// checkEnvironment demands what the command takes.
func (c *call) checkEnvironment() error {
	var needs []string
	switch c.command {
	case cmdAdd, cmdCheck:
		needs = []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}
	case cmdDel: // the namespace may be gone
		needs = []string{"CNI_CONTAINERID", "CNI_IFNAME"}
	case cmdGC, cmdStatus:
		if c.net.CNIVersion == versions[0] {
			return fail(codeVersion, "CNI_COMMAND %s is not in version %s of the CNI", c.command, versions[0])
		}
	default:
		return fail(codeEnvironment, "CNI_COMMAND %q is none of %s", c.command, strings.Join([]string{cmdAdd, cmdDel, cmdCheck, cmdGC, cmdStatus, cmdVersion}, ", "))
	}
	for _, name := range needs {
		if map[string]string{"CNI_CONTAINERID": c.containerID, "CNI_NETNS": c.netns, "CNI_IFNAME": c.ifName}[name] == "" {
			return fail(codeEnvironment, "%s is not set", name)
		}
	}
	switch {
	case strings.ContainsAny(c.containerID, "/\n\x00"):
		return fail(codeEnvironment, "CNI_CONTAINERID %q is no name of a container", c.containerID)
	case (c.command == cmdAdd || c.command == cmdCheck) && c.ifName != podLink:
		return fail(codeEnvironment, "CNI_IFNAME %q: the interface of a Pod is called %s here", c.ifName, podLink)
	case c.command == cmdCheck && len(c.net.PrevResult) == 0:
		return fail(codeConfig, "prevResult is not in the network configuration, and CHECK compares with it")
	case c.command == cmdGC && c.net.Valid == nil:
		return fail(codeConfig, "cni.dev/valid-attachments is not in the network configuration: without it nothing may be removed")
	}
	return nil
}

// owner is the name under which the network knows an attachment, different from
// those of Minato's own sandboxes. All of one network have the prefix ownersOf.
func owner(network string, a attachment) string {
	return ownersOf(network) + a.ContainerID + "/" + a.IfName
}

// ContainerOf is the container that an owner of addresses in the Pod network is, if
// it came by a network configuration of that name.
func ContainerOf(network, owner string) (containerID string, ok bool) {
	rest, ok := strings.CutPrefix(owner, ownersOf(network))
	containerID, _, _ = strings.Cut(rest, "/")
	return containerID, ok
}

func ownersOf(network string) string { return "cni/" + network + "/" }
