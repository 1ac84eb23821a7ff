package member

import (
	"context"
	"errors"
	"io/fs"

	"minato/internal/host"
	agent "minato/internal/node"
	"minato/internal/partuse"
)

// within has what a part does count to it.
func (m *Member) within(ctx context.Context, part string, run func(context.Context) error) error {
	return partuse.Run(ctx, partuse.Key{Node: m.cfg.Name, Part: part}, run)
}

// partUse is what a part uses that is shown as a Pod: the supervised parts in it, its
// code's memory, of which each node here has the same share, and a process of its own.
func (m *Member) partUse(s shown) (agent.PartUse, error) {
	use := m.cfg.Use.Use(m.keys(s)...)
	out := agent.PartUse{CPU: use.CPU, Memory: use.Memory / int64(max(1, m.cfg.NodesHere()))}
	if s.pid == nil {
		return out, nil
	}
	pid := s.pid()
	if pid == 0 {
		return out, nil
	}
	own, err := host.ReadProcess(pid)
	if errors.Is(err, fs.ErrNotExist) { // it has just ended
		return out, nil
	}
	return agent.PartUse{CPU: out.CPU + own.CPU, Memory: out.Memory + own.Memory}, err
}

// Parts lists the keys under which the meter has the parts that are shown as Pods.
func (m *Member) Parts() []partuse.Key {
	var out []partuse.Key
	for _, s := range m.shownParts() {
		out = append(out, m.keys(s)...)
	}
	return out
}

func (m *Member) keys(s shown) []partuse.Key {
	keys := []partuse.Key{{Node: m.cfg.Name, Part: s.main}}
	for _, other := range s.others {
		keys = append(keys, partuse.Key{Node: m.cfg.Name, Part: other})
	}
	return keys
}

// Owners names the nodes' parts, as supervised, by the packages whose code, with that of
// the packages below them, is theirs.
func Owners() map[string]string {
	return map[string]string{
		"minato/internal/service":      partServices,
		"minato/internal/dns":          "dns",
		"minato/internal/loadbalancer": partAnnounce,
		"minato/internal/ingress":      "ingress",
	}
}
