package cluster

import "minato/internal/member"

// CNIConfig is the network configuration list by which a container runtime on a
// node of the cluster finds the node's Pod network.
func CNIConfig(name, node string) ([]byte, error) {
	c, err := LoadConfig(name)
	if err != nil {
		return nil, err
	}
	if _, err := c.findNode(node); err != nil {
		return nil, err
	}
	return member.CNIConfig(Paths{Name: name}.CNISocket(node))
}
